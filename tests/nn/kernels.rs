//! The CPU's kernels against the same in basic operations; extreme numbers; repetition to the bit.

use candle_core::{DType, Device, Tensor, Var};
use noso::nn::{
    Masks,
    ops::{self, Activation, AdamW, Heads, Sight, Span, Window, composed},
};

use super::numbers::{angles, assert_close, check_same, flat, gradients, numbers, variable};

/// The seed of the first mask that `Masks::new(5)` deals out.
fn seed() -> u64 {
    Masks::new(5).next_seed()
}

#[test]
fn linear_equals_basic_operations() {
    for (rows, from, to) in [(1, 1, 1), (45, 32, 17), (130, 70, 33), (0, 4, 3)] {
        let (x, weight, bias) = (variable(&[rows, from], 1), variable(&[to, from], 2), variable(&[to], 3));
        if rows == 0 {
            assert_eq!(ops::linear(&x, &weight, Some(&bias)).unwrap().dims(), [0, to]);
            continue;
        }
        let all = [&x, &weight, &bias];
        check_same(&all, &|| ops::linear(&x, &weight, Some(&bias)).unwrap(), &|| {
            composed::linear(&x, &weight, Some(&bias)).unwrap()
        });
        check_same(&all[..2], &|| ops::linear(&x, &weight, None).unwrap(), &|| {
            composed::linear(&x, &weight, None).unwrap()
        });
    }
}

#[test]
fn linear_takes_views_and_refuses_what_does_not_fit() {
    let (wide, weight) = (variable(&[4, 6], 1), variable(&[3, 4], 2));
    let view = wide.t().unwrap(); // (6, 4), not contiguous
    check_same(&[&wide, &weight], &|| ops::linear(&view, &weight, None).unwrap(), &|| {
        composed::linear(&view, &weight, None).unwrap()
    });
    assert!(ops::linear(&wide, &weight, None).is_err());
    assert!(ops::linear(&view, &weight, Some(&variable(&[4], 3))).is_err());
}

#[test]
fn layer_norm_equals_basic_operations() {
    for hidden in [1, 31, 64, 100] {
        let [x, residual] = [1, 2].map(|seed| variable(&[6, hidden], seed));
        let [weight, bias] = [3, 4].map(|seed| variable(&[hidden], seed));
        let all = [&x, &weight, &bias, &residual];
        for residual in [None, Some(residual.as_tensor())] {
            let count = if residual.is_some() { 4 } else { 3 };
            let kernel = || ops::layer_norm(&x, residual, &weight, &bias, 1e-5).unwrap();
            check_same(&all[..count], &kernel, &|| composed::layer_norm(&x, residual, &weight, &bias, 1e-5).unwrap());
        }
    }
}

#[test]
fn rms_norm_equals_basic_operations() {
    for hidden in [1, 31, 64, 100] {
        let (x, weight) = (variable(&[6, hidden], 1), variable(&[hidden], 2));
        let kernel = || ops::rms_norm(&x, &weight, 1e-6).unwrap();
        check_same(&[&x, &weight], &kernel, &|| composed::rms_norm(&x, &weight, 1e-6).unwrap());
    }
    assert!(ops::rms_norm(&variable(&[6, 5], 1), &variable(&[4], 2), 1e-6).is_err());
}

#[test]
fn gates_equal_basic_operations() {
    let [gate, up] = [1, 2].map(|seed| variable(&[40, 41], seed));
    let spread = || (gate.as_tensor() * 9.0).unwrap();
    check_same(&[&gate, &up], &|| ops::gate(&spread(), &up).unwrap(), &|| composed::gate(&spread(), &up).unwrap());
    assert!(ops::gate(&gate, &variable(&[41, 40], 1)).is_err());
}

#[test]
fn rotations_equal_basic_operations() {
    let x = variable(&[5, 24], 1);
    for half in [1, 3, 12] {
        let angles = angles(5, half);
        let kernel = || ops::rotate(&x, &angles).unwrap();
        check_same(&[&x], &kernel, &|| composed::rotate(&x, &angles).unwrap());
    }
    assert!(ops::rotate(&x, &angles(4, 3)).is_err() && ops::rotate(&x, &angles(5, 5)).is_err());
}

#[test]
fn gelu_equals_the_exact_one() {
    let x = variable(&[40, 41], 1);
    let spread = || (x.as_tensor() * 9.0).unwrap();
    check_same(&[&x], &|| ops::activate(&spread(), Activation::Gelu).unwrap(), &|| spread().gelu_erf().unwrap());
}

#[test]
fn attention_equals_basic_operations() {
    for lengths in [&[1][..], &[3, 0, 1, 5, 2], &[0, 0], &[40, 17, 33, 64]] {
        let [q, k, v] = [1, 2, 3].map(|seed| variable(&[lengths.iter().sum(), 12], seed));
        let heads = Heads::all(3, 0.25);
        if q.elem_count() == 0 {
            assert_eq!(ops::attention(&q, &k, &v, lengths, heads, None).unwrap().dims(), [0, 12]);
            continue;
        }
        check_same(&[&q, &k, &v], &|| ops::attention(&q, &k, &v, lengths, heads, None).unwrap(), &|| {
            composed::attention(&q, &k, &v, lengths, heads, None).unwrap()
        });
        let dropping = || ops::attention(&q, &k, &v, lengths, heads, Some(&mut Masks::new(5))).unwrap();
        check_same(&[&q, &k, &v], &dropping, &|| {
            composed::attention(&q, &k, &v, lengths, heads, Some(seed())).unwrap()
        });
    }
    for (key_count, window) in [(4, None), (2, None), (1, Some(3)), (2, Some(1))] {
        let heads = Heads { count: 4, key_count, sight: Sight::Past { window }, drop: 0.25 };
        let (q, lengths) = (variable(&[26, 12], 1), [3, 0, 1, 5, 17]);
        let [k, v] = [2, 3].map(|seed| variable(&[26, 3 * key_count], seed));
        for masks in [false, true] {
            let kernel = || ops::attention(&q, &k, &v, &lengths, heads, masks.then(|| Masks::new(5)).as_mut()).unwrap();
            check_same(&[&q, &k, &v], &kernel, &|| {
                composed::attention(&q, &k, &v, &lengths, heads, masks.then(seed)).unwrap()
            });
        }
    }
    let x = variable(&[4, 12], 1);
    let shared = Heads { key_count: 2, ..Heads::all(3, 0.0) };
    assert!(ops::attention(&x, &x, &x, &[4], shared, None).is_err());
    assert!(ops::attention(&x, &x, &x, &[3], Heads::all(3, 0.0), None).is_err());
    assert!(ops::attention(&x, &x, &x, &[4], Heads::all(5, 0.0), None).is_err());
}

/// Sequences of one token, of a block and its neighbours, of several windows; with and without global tokens.
fn spans() -> Vec<Span> {
    let all = [(1, vec![0]), (5, vec![]), (63, vec![0]), (64, vec![63]), (65, vec![0, 30]), (200, vec![0, 7, 199])];
    all.map(|(length, globals)| Span { length, globals }).to_vec()
}

#[test]
fn window_attention_equals_basic_operations() {
    let spans = spans();
    let tokens: usize = spans.iter().map(|span| span.length).sum();
    let [q, k, v] = [1, 2, 3].map(|seed| variable(&[tokens, 12], seed));
    for reach in [0, 1, 4, 64, 300] {
        let window = Window { heads: 3, reach, drop: 0.0 };
        check_same(&[&q, &k, &v], &|| ops::window_attention(&q, &k, &v, &spans, window, None).unwrap(), &|| {
            composed::window_attention(&q, &k, &v, &spans, window, None).unwrap()
        });
    }
}

#[test]
fn a_window_over_the_whole_text_is_full_attention() {
    let lengths = [1, 30, 130];
    let [q, k, v] = [1, 2, 3].map(|seed| variable(&[161, 8], seed));
    let spans: Vec<Span> = lengths.iter().map(|&length| Span { length, globals: vec![] }).collect();
    let window = Window { heads: 2, reach: 130, drop: 0.0 };
    check_same(&[&q, &k, &v], &|| ops::window_attention(&q, &k, &v, &spans, window, None).unwrap(), &|| {
        ops::attention(&q, &k, &v, &lengths, Heads::all(2, 0.0), None).unwrap()
    });
}

#[test]
fn window_attention_refuses_what_does_not_fit() {
    let x = variable(&[4, 6], 1);
    let window = |heads| Window { heads, reach: 1, drop: 0.0 };
    let span = |length, globals: &[usize]| Span { length, globals: globals.to_vec() };
    for (spans, heads) in
        [(vec![span(3, &[])], 3), (vec![span(4, &[])], 5), (vec![span(4, &[4])], 3), (vec![span(4, &[1, 0])], 3)]
    {
        assert!(ops::window_attention(&x, &x, &x, &spans, window(heads), None).is_err(), "{spans:?} {heads}");
    }
}

#[test]
fn dropout_equals_basic_operations() {
    let x = variable(&[33, 21], 1);
    check_same(&[&x], &|| ops::dropout(&x, 0.3, Some(&mut Masks::new(5))).unwrap(), &|| {
        composed::dropout(&x, 0.3, seed()).unwrap()
    });
}

#[test]
fn losses_equal_basic_operations() {
    let logits = variable(&[7, 37], 1);
    let spread = || (logits.as_tensor() * 20.0).unwrap();
    let targets = [Some(36), None, Some(4), Some(0), None, Some(1), Some(1)];
    for smoothing in [0.0, 0.1] {
        check_same(&[&logits], &|| ops::cross_entropy(&spread(), &targets, smoothing).unwrap(), &|| {
            composed::cross_entropy(&spread(), &targets, smoothing).unwrap()
        });
    }
    check_same(&[&logits], &|| ops::log_softmax(&spread()).unwrap(), &|| composed::log_softmax(&spread()).unwrap());
    let even = (0..7 * 37).map(|n| (n % 5) as f32 / 4.0).collect();
    let even = Tensor::from_vec(even, (7, 37), &Device::Cpu).unwrap();
    for weights in [vec![1.0; 37], (0..37).map(|class| class as f32 / 9.0).collect()] {
        check_same(&[&logits], &|| ops::binary_cross_entropy(&spread(), &even, Some(&weights)).unwrap(), &|| {
            composed::binary_cross_entropy(&spread(), &even, &weights).unwrap()
        });
    }
    assert!(ops::binary_cross_entropy(&logits, &even, Some(&[1.0; 36])).is_err());
    assert_eq!(flat(&ops::cross_entropy(&logits, &[None; 7], 0.1).unwrap()), [0.0]);
    assert!(ops::cross_entropy(&logits, &[Some(37); 7], 0.0).is_err());
    assert!(ops::cross_entropy(&logits, &[Some(0); 6], 0.0).is_err());
}

#[test]
fn extreme_numbers_stay_finite_and_nan_is_not_hidden() {
    let numbers = vec![-1e30f32, -1e4, -90.0, -0.0, 1e-30, 88.0, 1e4, 1e30];
    let x = Var::from_vec(numbers, (2, 4), &Device::Cpu).unwrap();
    let (ones, zeros) = (x.ones_like().unwrap(), x.zeros_like().unwrap());
    let small = x.clamp(-1e4, 1e4).unwrap();
    let heads = Heads::all(2, 0.0);
    let cases: [&dyn Fn() -> Tensor; 6] = [
        &|| ops::activate(&small, Activation::Gelu).unwrap(),
        &|| ops::cross_entropy(&x, &[Some(0), Some(3)], 0.1).unwrap(),
        &|| ops::binary_cross_entropy(&x, &ones, None).unwrap(),
        &|| ops::binary_cross_entropy(&x, &zeros, None).unwrap(),
        &|| ops::attention(&small, &small, &small, &[2], heads, None).unwrap(),
        &|| ops::layer_norm(&zeros, None, &x.get(0).unwrap(), &x.get(1).unwrap(), 1e-12).unwrap(),
    ];
    for (number, case) in cases.iter().enumerate() {
        assert!(flat(&case()).iter().all(|x| x.is_finite()), "value of case {number}");
        assert!(gradients(&[&x], case).concat().iter().all(|x| x.is_finite()), "gradient of case {number}");
    }
    let broken = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu).unwrap();
    let one = Tensor::new(&[1.0f32, 1.0], &Device::Cpu).unwrap();
    for out in [
        ops::cross_entropy(&broken, &[Some(1)], 0.0),
        ops::binary_cross_entropy(&broken, &one.unsqueeze(0).unwrap(), None),
        ops::activate(&broken, Activation::Gelu),
        ops::layer_norm(&broken, None, &one, &one, 1e-5),
        ops::attention(&broken, &broken, &broken, &[1], heads, None),
    ] {
        assert!(flat(&out.unwrap()).iter().any(|x| x.is_nan()));
    }
}

#[test]
fn what_is_computed_twice_is_the_same_to_the_bit() {
    let [q, k, v] = [1, 2, 3].map(|seed| variable(&[70, 64], seed));
    let weight = variable(&[64, 64], 4);
    let run = || {
        let heads = Heads::all(4, 0.1);
        let out = ops::attention(&q, &k, &v, &[40, 30], heads, Some(&mut Masks::new(5))).unwrap();
        ops::activate(&ops::linear(&out, &weight, None).unwrap(), Activation::Gelu).unwrap()
    };
    let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(flat(&run())), bits(flat(&run())));
    let all = [&q, &k, &v, &weight];
    assert_eq!(bits(gradients(&all, &run).concat()), bits(gradients(&all, &run).concat()));
}

#[test]
fn adamw_takes_the_steps_of_its_formula() {
    let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let rows = [zeros((3, 50)), zeros((3, 50))];
    let columns = [zeros((50, 3)).t().unwrap(), zeros((50, 3)).t().unwrap()]; // no kernel takes them: basic operations
    for mut moments in [rows, columns] {
        let variable = variable(&[3, 50], 1);
        let mut right: Vec<f64> = flat(&variable).into_iter().map(f64::from).collect();
        let (mut first, mut second) = (vec![0.0; 150], vec![0.0; 150]);
        for step in 1..=3 {
            let gradient = numbers(150, 10 + step as u64);
            let tensor = Tensor::from_slice(&gradient, (3, 50), &Device::Cpu).unwrap();
            ops::adamw(&variable, &tensor, &mut moments, &AdamW { step, ..STEP }).unwrap();
            let (left_1, left_2) = (1.0 - 0.9f64.powi(step as i32), 1.0 - 0.999f64.powi(step as i32));
            for (at, gradient) in gradient.iter().enumerate() {
                let gradient = f64::from(*gradient) * 0.5;
                first[at] = 0.9 * first[at] + 0.1 * gradient;
                second[at] = 0.999 * second[at] + 0.001 * gradient * gradient;
                let move_by = 0.01 * first[at] / left_1 / ((second[at] / left_2).sqrt() + 1e-8);
                right[at] = right[at] * (1.0 - 0.01 * 0.1) - move_by;
            }
        }
        let right: Vec<f32> = right.into_iter().map(|x| x as f32).collect();
        assert_close(&flat(&variable), &right, "weights after three steps");
        let squares: f64 = right.iter().map(|x| f64::from(x * x)).sum();
        assert!((ops::sum_of_squares(&variable).unwrap() - squares).abs() < 1e-3);
        let short = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        assert!(ops::adamw(&variable, &short, &mut moments, &STEP).is_err());
    }
}

const STEP: AdamW = AdamW { rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1, step: 1, scale: 0.5 };
