//! Evaluation: the figures of the paper's own script, and what must hold of any input.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::{Command, assert::Assert};
use noso::{
    corpus::brat::{RawCorpus, read_raw},
    eval::{
        bootstrap::{Bootstrap, Interval},
        calibration::{Binning, area_under_risk_coverage, expected_calibration_error, reliability, risk_coverage},
        calibrator::Calibrator,
        metrics::{Annotation, Counts, DocumentCounts, Figures, Matching, Metrics, compare},
        report::Report,
    },
};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use proptest::prelude::*;

/// Folder of the reference figures, where the checkout has one beside it.
fn oracle() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle/eval");
    let found = folder.join("expected.json").is_file();
    if !found {
        eprintln!("skipped: no reference figures beside this checkout ({})", folder.display());
    }
    found.then_some(folder)
}

fn annotations(corpus: &RawCorpus) -> BTreeMap<String, Vec<Annotation<'_>>> {
    corpus
        .documents
        .iter()
        .map(|(id, all)| (id.clone(), all.iter().map(|(s, e, code)| Annotation { start: *s, end: *e, code }).collect()))
        .collect()
}

/// The number that follows a key, as its digits stand in the file: a parser could move the last one.
fn printed<'a>(json: &'a str, key: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{key}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().trim()
}

#[test]
fn equals_the_reference_script_to_the_last_digit() {
    let Some(folder) = oracle() else { return };
    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    let (strict, relaxed) = expected.split_at(expected.find("\"relaxed\"").unwrap());
    let (gold, predicted) = (read_raw(&folder.join("ref")).unwrap(), read_raw(&folder.join("pred")).unwrap());
    let (gold, predicted) = (annotations(&gold), annotations(&predicted));
    for (expected, matching) in [(strict, Matching::Strict), (relaxed, Matching::Relaxed)] {
        let metrics = Metrics::of(&compare(&gold, &predicted, matching).documents);
        let seen = serde_json::to_value(Report::new(&metrics, None, matching)).unwrap();
        let tasks = [("NER", "ner"), ("NER+Linking", "ner_linking"), ("Code assignment", "code_assignment")];
        let figures = [("precision", "precision"), ("recall", "recall"), ("F-score", "f1"), ("accuracy", "accuracy")];
        for (theirs, ours) in tasks {
            for (their_figure, our_figure) in figures {
                let want = printed(expected, &format!("{theirs} {their_figure}"));
                assert_eq!(seen[ours][our_figure].to_string(), want, "{matching:?} {theirs} {their_figure}");
            }
        }
        for (theirs, ours) in [("NER", "ner"), ("Code assignment", "code_assignment")] {
            let want = printed(expected, &format!("Document-level {theirs} accuracy"));
            assert_eq!(seen["document_recall"][ours].to_string(), want, "{matching:?} document {theirs}");
        }
        assert_eq!(seen["documents"], gold.len());
    }
}

fn document<'a>(entities: &[(i64, i64, &'a str)]) -> Vec<Annotation<'a>> {
    entities.iter().map(|&(start, end, code)| Annotation { start, end, code }).collect()
}

#[test]
fn counts_and_figures_by_hand() {
    let gold = document(&[(0, 5, "K29.5"), (7, 9, "I10"), (12, 20, "J06.9"), (30, 34, "I10")]);
    let predicted = document(&[(0, 5, "K29.6"), (7, 9, "I10"), (11, 20, "J06.9"), (7, 9, "I10")]);
    let strict = DocumentCounts::of(&gold, &predicted, Matching::Strict);
    let counts =
        |true_positives, false_positives, false_negatives| Counts { true_positives, false_positives, false_negatives };
    // Spans: gold 4, predicted 3 ((7, 9) twice is one), shared (0, 5) and (7, 9).
    assert_eq!(strict.ner, counts(2, 1, 2));
    // Pairs: only (7, 9, I10) is shared.
    assert_eq!(strict.ner_linking, counts(1, 2, 3));
    // Codes: gold {K29.5, I10, J06.9}, predicted {K29.6, I10, J06.9}.
    assert_eq!(strict.code_assignment, counts(2, 1, 1));
    let relaxed = DocumentCounts::of(&gold, &predicted, Matching::Relaxed);
    assert_eq!(
        (relaxed.ner, relaxed.ner_linking, relaxed.code_assignment),
        (strict.ner, counts(2, 1, 2), counts(3, 0, 0))
    );

    // NER: P = 2/3, R = 2/4, F1 = 2 · 2/3 · 1/2 / (2/3 + 1/2) = 4/7, accuracy = 2/(2 + 1 + 2).
    let figures = Metrics::of([&strict]).figures();
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
    close(figures.ner.precision, 2.0 / 3.0);
    close(figures.ner.recall, 0.5);
    close(figures.ner.f1, 4.0 / 7.0);
    close(figures.ner.accuracy, 0.4);
    assert_eq!(figures.document_recall.code_assignment, 0.0);
    assert_eq!(Metrics::of([&relaxed]).figures().document_recall.code_assignment, 1.0);
}

#[test]
fn codes_are_cut_before_sets_are_made() {
    // Two codes of one group are one relaxed code: gold {K29}, predicted {K29, I10}.
    let gold = document(&[(0, 5, "K29.5"), (7, 9, "K29.6")]);
    let predicted = document(&[(0, 5, "K29.9"), (7, 9, "I10")]);
    let relaxed = DocumentCounts::of(&gold, &predicted, Matching::Relaxed).code_assignment;
    assert_eq!((relaxed.true_positives, relaxed.false_positives, relaxed.false_negatives), (1, 1, 0));
    // Characters, not bytes; a shorter code is itself.
    assert_eq!(Matching::Relaxed.key("Н13.0"), "Н13");
    assert_eq!(Matching::Relaxed.key("00"), "00");
}

#[test]
fn one_sided_and_empty_documents() {
    let gold = BTreeMap::from([
        ("a".to_owned(), document(&[(0, 5, "I10")])),
        ("b".to_owned(), document(&[(0, 5, "I10"), (6, 8, "J00")])),
        ("c".to_owned(), document(&[])),
    ]);
    let predicted = BTreeMap::from([
        ("a".to_owned(), document(&[(0, 5, "I10")])),
        ("c".to_owned(), document(&[(0, 1, "J00")])),
        ("d".to_owned(), document(&[(0, 1, "J00")])),
    ]);
    let comparison = compare(&gold, &predicted, Matching::Strict);
    assert_eq!((comparison.only_gold.as_slice(), comparison.only_predicted.as_slice()), (&["b"][..], &["d"][..]));
    let metrics = Metrics::of(&comparison.documents);
    // a is right; b is missed, two codes; c, empty in gold, has one too many and is complete all the same; d is not scored.
    let codes = metrics.counts.code_assignment;
    assert_eq!((codes.true_positives, codes.false_positives, codes.false_negatives), (1, 1, 2));
    assert_eq!(metrics.figures().document_recall.code_assignment, 2.0 / 3.0);
    assert_eq!(Metrics::default().figures().values(), [0.0; 14]);
}

#[test]
fn json_has_the_documented_keys_in_order() {
    let counts = DocumentCounts::of(&document(&[(0, 5, "I10")]), &document(&[(0, 5, "I11")]), Matching::Strict);
    let metrics = Metrics::of([&counts]);
    let plain = serde_json::to_string(&Report::new(&metrics, None, Matching::Strict)).unwrap();
    assert_eq!(
        plain,
        concat!(
            r#"{"ner":{"precision":1.0,"recall":1.0,"f1":1.0,"accuracy":1.0,"tp":1,"fp":0,"fn":0},"#,
            r#""ner_linking":{"precision":0.0,"recall":0.0,"f1":0.0,"accuracy":0.0,"tp":0,"fp":1,"fn":1},"#,
            r#""code_assignment":{"precision":0.0,"recall":0.0,"f1":0.0,"accuracy":0.0,"tp":0,"fp":1,"fn":1},"#,
            r#""document_recall":{"ner":1.0,"code_assignment":0.0},"documents":1}"#
        )
    );
    let intervals = Figures::from_values([Interval { lower: 0.25, upper: 0.5 }; 14]);
    let with = serde_json::to_string(&Report::new(&metrics, Some(&intervals), Matching::Strict)).unwrap();
    assert!(with.starts_with(r#"{"ner":{"precision":1.0,"precision_interval":[0.25,0.5],"recall":1.0,"#), "{with}");
    assert!(with.contains(r#""code_assignment":0.0,"code_assignment_interval":[0.25,0.5]},"documents":1"#), "{with}");
}

fn brat(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn eval(gold: &Path, predicted: &Path, more: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("noso").unwrap();
    command.arg("eval").arg("--gold").arg(gold).arg("--predicted").arg(predicted).args(more).assert()
}

const ASTHMA: &str = "T1\ticd_code 0 5\tастма\nN1\tReference T1 ICD_codes:0\tJ45.9\n";

#[test]
fn command_scores_folders_and_names_what_stands_on_one_side() {
    let gold = brat(&[("1.ann", ASTHMA), ("2.ann", ASTHMA)]);
    let predicted = brat(&[("1.ann", &ASTHMA.replace("J45.9", "J45.0")), ("9.ann", "T1\ticd_code 0 5\tастма\n")]);
    // Document 1: right span, wrong code; document 2: missed; 9 is not scored. Codes: TP 0, FP 1, FN 2; relaxed TP 1, FN 1.
    eval(gold.path(), predicted.path(), &["--format", "json"])
        .success()
        .stdout(contains(r#""tp":0,"fp":1,"fn":2},"document_recall":{"ner":0.5,"code_assignment":0.0},"documents":2}"#))
        .stderr(contains("in gold only, scored as if nothing was predicted: 1 (2)"))
        .stderr(contains("in predicted only, not scored: 1 (9)"))
        .stderr(contains("predicted: entities without a code, left out: 1"));
    eval(gold.path(), predicted.path(), &["--relaxed", "--format", "json"])
        .success()
        .stdout(contains(r#""tp":1,"fp":0,"fn":1},"document_recall":{"ner":0.5,"code_assignment":0.5}"#));
    eval(gold.path(), gold.path(), &["--bootstrap", "100"])
        .success()
        .stdout(contains("code assignment").and(contains("1.0000–1.0000")))
        .stderr("");
}

#[test]
fn command_says_which_folder_it_cannot_read() {
    let (gold, empty) = (brat(&[("1.ann", ASTHMA)]), brat(&[("1.txt", "астма")]));
    eval(gold.path(), empty.path(), &[]).code(1).stdout("").stderr(contains("no .ann file").and(contains("hint:")));
    eval(&gold.path().join("absent"), gold.path(), &[]).code(1).stderr(contains("absent").and(contains("hint:")));
}

const CODES: [&str; 6] = ["K29.5", "K29.6", "K29", "I10", "J06.9", "J06.8"];

prop_compose! {
    fn entities()(drawn in prop::collection::vec((0..4i64, 1..3i64, 0..CODES.len()), 0..6)) -> Vec<Annotation<'static>> {
        drawn.into_iter().map(|(start, length, code)| Annotation { start, end: start + length, code: CODES[code] }).collect()
    }
}

fn pairs() -> impl Strategy<Value = Vec<(f64, bool)>> {
    prop::collection::vec(((0..=20u8).prop_map(|n| f64::from(n) / 20.0), any::<bool>()), 1..60)
}

fn squared_error(pairs: &[(f64, bool)], probability: impl Fn(f64) -> f64) -> f64 {
    pairs.iter().map(|&(score, correct)| (probability(score) - f64::from(correct)).powi(2)).sum()
}

proptest! {
    #[test]
    fn figures_keep_their_bounds(gold in entities(), predicted in entities()) {
        for matching in [Matching::Strict, Matching::Relaxed] {
            let counts = DocumentCounts::of(&gold, &predicted, matching);
            let figures = Metrics::of([&counts]).figures();
            for score in [figures.ner, figures.ner_linking, figures.code_assignment] {
                prop_assert!(score.f1 <= score.precision.max(score.recall) + 1e-12);
                prop_assert!(score.f1 >= score.precision.min(score.recall) - 1e-12);
                prop_assert!(score.accuracy <= score.f1 + 1e-12);
                prop_assert!((0.0..=1.0).contains(&score.accuracy));
            }
            let swapped = DocumentCounts::of(&predicted, &gold, matching).code_assignment;
            prop_assert_eq!(swapped.true_positives, counts.code_assignment.true_positives);
            prop_assert_eq!(swapped.false_positives, counts.code_assignment.false_negatives);
        }
    }

    #[test]
    fn identical_sets_score_one(gold in entities().prop_filter("not empty", |gold| !gold.is_empty())) {
        let mut shuffled = gold.clone();
        shuffled.reverse();
        shuffled.push(gold[0]);
        let counts = DocumentCounts::of(&gold, &shuffled, Matching::Strict);
        prop_assert_eq!(Metrics::of([&counts]).figures().values(), [1.0; 14]);
    }

    #[test]
    fn relaxed_misses_no_more_than_strict(gold in entities(), predicted in entities()) {
        let strict = DocumentCounts::of(&gold, &predicted, Matching::Strict);
        let relaxed = DocumentCounts::of(&gold, &predicted, Matching::Relaxed);
        prop_assert_eq!(strict.ner, relaxed.ner);
        prop_assert!(relaxed.code_assignment.false_negatives <= strict.code_assignment.false_negatives);
        prop_assert!(relaxed.ner_linking.false_positives <= strict.ner_linking.false_positives);
    }

    #[test]
    fn intervals_hold_the_figure_and_repeat(sides in prop::collection::vec((entities(), entities()), 8..30)) {
        let documents: Vec<_> =
            sides.iter().map(|(gold, predicted)| DocumentCounts::of(gold, predicted, Matching::Strict)).collect();
        let intervals = Bootstrap::new(500).intervals(&documents).unwrap();
        prop_assert_eq!(intervals, Bootstrap::new(500).intervals(&documents).unwrap());
        for (interval, figure) in intervals.values().iter().zip(Metrics::of(&documents).figures().values()) {
            prop_assert!(interval.lower <= figure + 1e-12 && figure <= interval.upper + 1e-12, "{figure} {interval:?}");
        }
    }

    #[test]
    fn isotonic_never_falls_and_never_fits_worse(pairs in pairs()) {
        let fit = Calibrator::fit_isotonic(&pairs).unwrap();
        let curve: Vec<f64> = (-5..=105).map(|n| fit.probability(f64::from(n) / 100.0)).collect();
        prop_assert!(curve.windows(2).all(|two| two[0] <= two[1]), "{curve:?}");
        prop_assert!(curve.iter().all(|p| (0.0..=1.0).contains(p)));
        let fitted = squared_error(&pairs, |score| fit.probability(score));
        prop_assert!(fitted <= squared_error(&pairs, |score| score) + 1e-9);
        let platt = Calibrator::fit_platt(&pairs).unwrap();
        prop_assert!(fitted <= squared_error(&pairs, |score| platt.probability(score)) + 1e-9);
        // A pooled block's probability is its share of right answers, so on its own data the map is calibrated.
        let mapped: Vec<_> = pairs.iter().map(|&(score, correct)| (fit.probability(score), correct)).collect();
        prop_assert!(expected_calibration_error(&mapped, Binning::EqualMass(1000)) < 1e-9);
    }

    #[test]
    fn platt_never_falls(pairs in pairs()) {
        let fit = Calibrator::fit_platt(&pairs).unwrap();
        let curve: Vec<f64> = (-5..=105).map(|n| fit.probability(f64::from(n) / 100.0)).collect();
        prop_assert!(curve.windows(2).all(|two| two[0] <= two[1]), "{curve:?}");
        prop_assert!(curve.iter().all(|p| (0.0..=1.0).contains(p)));
    }

    #[test]
    fn bins_and_curves_account_for_every_pair(pairs in pairs(), bins in 1..20usize) {
        for binning in [Binning::EqualWidth(bins), Binning::EqualMass(bins)] {
            let table = reliability(&pairs, binning);
            prop_assert_eq!(table.iter().map(|bin| bin.count).sum::<usize>(), pairs.len());
            prop_assert!(table.len() <= bins);
            prop_assert!(table.windows(2).all(|two| two[0].highest < two[1].lowest));
        }
        let curve = risk_coverage(&pairs);
        let wrong = pairs.iter().filter(|(_, correct)| !correct).count() as f64 / pairs.len() as f64;
        let last = curve.last().unwrap();
        prop_assert!(last.coverage == 1.0 && (last.risk - wrong).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&area_under_risk_coverage(&curve)));
    }
}
