use super::*;

fn judged(gold: &[u32], chosen: &[u32], probabilities: &[f32]) -> Judged {
    Judged { gold: gold.into(), chosen: chosen.into(), probabilities: probabilities.into() }
}

const WEIGHTS: [f64; 3] = [0.5, 0.3, 0.2];

fn records() -> Vec<Judged> {
    vec![
        judged(&[0], &[0], &[0.9, 0.2, 0.1]),
        judged(&[0, 1], &[1], &[0.4, 0.8, 0.3]),
        judged(&[1], &[1, 2], &[0.1, 0.6, 0.7]),
        judged(&[], &[2], &[0.5, 0.1, 0.8]),
    ]
}

/// Many records of which each measure depends; `seed` makes them differ.
fn many(records: usize, classes: u32, seed: u32) -> Vec<Judged> {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let one = |_| {
        let gold: Vec<u32> = (0..classes).filter(|_| random() % classes < 4).collect();
        let raised = |class: u32| if gold.contains(&class) { 40 } else { 0 };
        let probabilities: Vec<f32> = (0..classes).map(|c| ((random() % 60 + raised(c)) as f32) / 100.0).collect();
        let chosen = (0..classes).filter(|&class| probabilities[class as usize] > 0.55).collect();
        Judged { gold, chosen, probabilities }
    };
    (0..records).map(one).collect()
}

fn near(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-12, "{left} is not {right}");
}

#[test]
fn measures_by_hand() {
    let counts = per_class(&records(), 3);
    let of =
        |true_positives, false_positives, false_negatives| Counts { true_positives, false_positives, false_negatives };
    // Class 0: found in record 0, missed in record 1. Class 1: found in 1 and 2. Class 2: wrong in 2 and 3.
    assert_eq!(counts, [of(1, 0, 1), of(2, 0, 0), of(0, 2, 0)]);
    // F1: 2 · 1 / (2 · 1 + 0 + 1) = 2/3; 1; 0. Class 2 is never right, so it is left out of the first mean:
    // (0.5 · 2/3 + 0.3 · 1) / (0.5 + 0.3) = 19/24.
    near(weighted_f1(&counts, &WEIGHTS), 19.0 / 24.0);
    let all = Multilabel::of(&records(), &WEIGHTS);
    near(all.weighted_f1, 19.0 / 24.0);
    // (0.5 · 2/3 + 0.3 · 1 + 0.2 · 0) / 1.
    near(all.weighted_f1_all, 19.0 / 30.0);
    // 3 found, 2 wrong, 1 missed: 2 · 3 / (2 · 3 + 2 + 1).
    near(all.micro_f1, 2.0 / 3.0);
    // (2/3 + 1) / 2.
    near(all.macro_f1, 5.0 / 6.0);
    // Of records 0, 1, 2 (3 has no right class) the likeliest class is 0 (right), 1 (right), 2 (wrong).
    near(all.precision_at_1, 2.0 / 3.0);
    // All three classes are among the 3 likeliest: (1/3 + 2/3 + 1/3) / 3.
    near(all.precision_at_3, 4.0 / 9.0);
    // (1/5 + 2/5 + 1/5) / 3.
    near(all.precision_at_5, 4.0 / 15.0);
    // Class 0 ranks records 0 (right), 3, 1 (right), 2: 1/2 · 1/1 + 1/2 · 2/3 = 5/6. Class 1 ranks 1, 2 (both right)
    // first: 1. Mean 11/12.
    near(all.mean_average_precision, 11.0 / 12.0);
    // Record 0 alone.
    near(all.exact_match, 1.0 / 4.0);
    assert_eq!(all.values().len(), Multilabel::NAMES.len());
}

#[test]
fn equal_probabilities_have_no_order() {
    // One step at which all 4 records are seen and 1 is right: 1 · 1/4 (scikit-learn: 0.25), wherever it stands.
    for right in 0..4 {
        near(ranking::Ranked::new(&[0.5; 4], &[right]).average_precision(&[1; 4]).unwrap(), 0.25);
    }
    // Steps: 0.9 with record 0 (wrong), 0.5 with records 1 (right) and 2 (wrong), 0.1 with record 3 (right):
    // 1/2 · 1/3 + 1/2 · 2/4 = 5/12, as scikit-learn gives for [0.9, 0.5, 0.5, 0.1] and [0, 1, 0, 1].
    let ranked = ranking::Ranked::new(&[0.9, 0.5, 0.5, 0.1], &[1, 3]);
    near(ranked.average_precision(&[1; 4]).unwrap(), 5.0 / 12.0);
    // The first place goes to class 0, the other two of 3 to two of the three classes at 0.5: class 1 is there by 2/3.
    near(ranking::precision_at(&judged(&[1], &[], &[0.9, 0.5, 0.5, 0.5]), 3), 2.0 / 3.0 / 3.0);
    let mut turned = many(40, 12, 1);
    let weights = [1.0; 12];
    let [straight, back] = [false, true].map(|turn| {
        if turn {
            turned.reverse();
        }
        Multilabel::of(&turned, &weights).values()
    });
    straight.into_iter().zip(back).for_each(|(left, right)| near(left, right));
}

#[test]
fn a_draw_is_measured_as_if_its_records_were_there_so_often() {
    let records = many(30, 9, 7);
    let weights: Vec<f64> = (1..10).map(f64::from).collect();
    let times: Vec<u32> = (0..30).map(|record| record * 7 % 4).collect();
    let written = records.iter().zip(&times).flat_map(|(record, &times)| vec![record; times as usize]);
    let drawn = Prepared::new(&records, &weights).measure(Some(&times)).values();
    let written = Multilabel::of(written, &weights).values();
    drawn.into_iter().zip(written).for_each(|(left, right)| near(left, right));
}

#[test]
fn a_classifier_differs_from_itself_by_nothing_and_from_a_worse_one_by_something() {
    let (first, weights) = (many(60, 10, 3), [0.1; 10]);
    let same = difference(&[&first], &[&first], &each(60), &weights, Bootstrap::new(50)).unwrap();
    assert!(same.iter().all(|one| (one.value, one.interval.lower, one.interval.upper) == (0.0, 0.0, 0.0)));
    let perfect = |record: &Judged| Judged {
        chosen: record.gold.clone(),
        probabilities: (0..10).map(|class| f32::from(u8::from(record.gold.contains(&class)))).collect(),
        ..record.clone()
    };
    let second: Vec<Judged> = first.iter().map(perfect).collect();
    let gain = difference(&[&first], &[&second], &each(60), &weights, Bootstrap::new(50)).unwrap();
    near(gain[0].value, 1.0 - Multilabel::of(&first, &weights).weighted_f1);
    assert!(gain.iter().all(|one| one.interval.lower >= 0.0 && one.value >= one.interval.lower), "{gain:?}");
    // Records of few groups say less: all of one group leave nothing to draw.
    let alike = difference(&[&first], &[&second], &[7; 60], &weights, Bootstrap::new(50)).unwrap();
    assert!(alike.iter().all(|one| one.interval.lower == one.value && one.interval.upper == one.value));
    let groups: Vec<usize> = (0..60).map(|record| record / 20).collect();
    let few = difference(&[&first], &[&second], &groups, &weights, Bootstrap::new(200)).unwrap();
    let width = |one: &Difference| one.interval.upper - one.interval.lower;
    assert!(width(&few[2]) > 0.0 && few[2].value == gain[2].value);
}

#[test]
fn trainings_that_differ_widen_the_interval() {
    let (bad, good, weights) = (many(60, 10, 3), many(60, 10, 4), [0.1; 10]);
    // Both see the same records.
    let good: Vec<Judged> =
        good.into_iter().zip(&bad).map(|(one, other)| Judged { gold: other.gold.clone(), ..one }).collect();
    let of = |first: &[&Vec<Judged>], second: &[&Vec<Judged>]| {
        difference(first, second, &[7; 60], &weights, Bootstrap::new(200)).unwrap()[2]
    };
    let one = of(&[&bad], &[&good]);
    assert_eq!([one.interval.lower, one.interval.upper], [one.value; 2]);
    // One pair gains so much and another loses it: the mean is nothing, its standard error as much, and t of one degree 12.706.
    let two = of(&[&bad, &good], &[&good, &bad]);
    near(two.value, 0.0);
    assert!((two.interval.upper / one.value.abs() - 12.706).abs() < 1e-3, "{two:?}");
    near(two.interval.lower, -two.interval.upper);
    // Equal pairs leave no doubt.
    let equal = of(&[&bad, &bad, &bad], &[&good, &good, &good]);
    near(equal.interval.upper, one.value);
}

/// Numbers of so many groups of a record each.
fn each(records: usize) -> Vec<usize> {
    (0..records).collect()
}

#[test]
fn nothing_gives_zeros() {
    assert_eq!(Multilabel::of(&[], &WEIGHTS).values(), [0.0; 9]);
    assert_eq!(Multilabel::of(&records(), &[0.0; 3]).weighted_f1, 0.0);
    let strange = [judged(&[], &[], &[]), judged(&[7], &[8], &[])];
    assert!(Multilabel::of(&strange, &WEIGHTS).values().iter().all(|value| value.is_finite()));
    assert_eq!(difference(&[&[][..]], &[&[]], &[], &WEIGHTS, Bootstrap::new(10)), None);
    assert_eq!(difference::<Vec<Judged>>(&[], &[], &[], &WEIGHTS, Bootstrap::new(10)), None);
    assert_eq!(difference(&[&records()[..]], &[&records()[1..]], &[0; 4], &WEIGHTS, Bootstrap::new(10)), None);
}

#[test]
#[ignore = "a timing; run with --ignored --nocapture"]
fn duration_of_a_bootstrap() {
    for (records, classes, resamples) in [(1000, 100, 1000), (2000, 3500, 100)] {
        let (first, second) = (many(records, classes, 1), many(records, classes, 2));
        let weights = vec![1.0; classes as usize];
        let start = std::time::Instant::now();
        difference(&[&first], &[&second], &each(records), &weights, Bootstrap::new(resamples)).unwrap();
        println!("{resamples} resamples of {records} records and {classes} classes: {:?}", start.elapsed());
    }
}
