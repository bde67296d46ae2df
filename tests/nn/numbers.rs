//! Made-up tensors, and how two ways to compute the same are compared.

use candle_core::{Device, Tensor, Var};
use noso::nn::ops::Angles;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers between -1 and 1.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub fn variable(shape: &[usize], seed: u64) -> Var {
    Var::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

/// The largest difference.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Angles of some tokens.
pub fn angles(tokens: usize, half: usize) -> Angles {
    let angles = numbers(tokens * half, 7).into_iter().map(|x| 3.0 * x);
    let (cosines, sines): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
    Angles { cosines: cosines.into(), sines: sines.into(), half }
}

pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Weighs the numbers of a result differently, so that no gradient is uniform or zero by chance.
fn weighed(out: &Tensor) -> Tensor {
    let weights = Tensor::from_vec(numbers(out.elem_count(), 99), out.shape(), &Device::Cpu).unwrap();
    (out * weights).unwrap().sum_all().unwrap()
}

/// Gradients of the weighed sum of `f`'s result.
pub fn gradients(variables: &[&Var], f: &dyn Fn() -> Tensor) -> Vec<Vec<f32>> {
    let store = weighed(&f()).backward().unwrap();
    variables.iter().map(|variable| store.get(variable).map(flat).unwrap_or_default()).collect()
}

/// Holds gradients against finite differences: the weighed sum is computed again with a number a little larger and a little smaller.
pub fn check_gradients(variables: &[&Var], f: &dyn Fn() -> Tensor) {
    const STEP: f32 = 5e-3;
    let objective = || -> f64 {
        let out = flat(&f());
        out.iter().zip(numbers(out.len(), 99)).map(|(&x, weight)| f64::from(x) * f64::from(weight)).sum()
    };
    for (which, (variable, gradient)) in variables.iter().zip(gradients(variables, f)).enumerate() {
        let before = flat(variable);
        assert_eq!(gradient.len(), before.len(), "argument {which} has no gradient");
        let set = |numbers: &[f32]| {
            variable.set(&Tensor::from_slice(numbers, variable.shape(), &Device::Cpu).unwrap()).unwrap();
        };
        let stride = before.len().div_ceil(40);
        for at in (0..before.len()).step_by(stride) {
            let mut moved = before.clone();
            moved[at] = before[at] + STEP;
            set(&moved);
            let above = objective();
            moved[at] = before[at] - STEP;
            set(&moved);
            let slope = (above - objective()) / f64::from(2.0 * STEP);
            let found = f64::from(gradient[at]);
            assert!(
                (slope - found).abs() < 4e-3 * (1.0 + slope.abs()),
                "argument {which}, number {at}: gradient {found}, finite difference {slope}"
            );
        }
        set(&before);
    }
}

/// Holds values and gradients of two ways to compute the same against each other.
pub fn check_same(variables: &[&Var], kernel: &dyn Fn() -> Tensor, composed: &dyn Fn() -> Tensor) {
    let (a, b) = (kernel(), composed());
    assert_eq!(a.dims(), b.dims());
    assert_close(&flat(&a), &flat(&b), "values");
    for (which, (a, b)) in gradients(variables, kernel).iter().zip(gradients(variables, composed)).enumerate() {
        assert_close(a, &b, &format!("gradient of argument {which}"));
    }
}

pub fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{what}, number {at}: {a} {b}");
    }
}
