//! Loops over f32 slices in the widest vectors that the processor has, and the functions of one number they are made of.
//!
//! The crate is compiled for any x86-64. [`widest!`] compiles a function three times and chooses at run time; what it calls is marked
//! `#[inline(always)]`, so that it is compiled along.

/// Defines functions over slices that run with AVX-512, with AVX2, or with what every processor has.
macro_rules! widest {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $type),*) $(-> $out)? { plain($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $out)? { plain($($arg),*) }
                let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
                if fma && wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                    // SAFETY: the processor has the features.
                    return unsafe { avx512($($arg),*) };
                }
                if fma {
                    // SAFETY: the processor has the features.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    )*};
}

pub(super) use widest;

/// Partial sums kept side by side, so that a sum can run in vectors: an order of additions that no processor changes.
const LANES: usize = 32;

/// Sums `f(0), …, f(count - 1)`.
#[inline(always)]
pub(super) fn sum(count: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = count - count % LANES;
    let mut start = 0;
    while start < whole {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(start + lane);
        }
        start += LANES;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    (whole..count).fold(lanes[0], |total, number| total + f(number))
}

/// Returns the largest number, or the least f32 if there is none. NaN is passed over.
#[inline(always)]
pub(super) fn largest(numbers: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, &number) in lanes.iter_mut().zip(chunk) {
            *most = if number > *most { number } else { *most };
        }
    }
    lanes.iter().chain(rest).fold(f32::MIN, |most, &number| if number > most { number } else { most })
}

/// Computes `e^x` to two units in the last place; below -87.3 it stays at the least normal number, above 88.3 at the largest. NaN stays NaN.
///
/// # Source
/// Cody and Waite's reduction to `2^n · e^r` with the polynomial of Moshier's Cephes: <https://netlib.org/cephes/>.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to a whole number, which is then in the low bits
    let x = if x < -87.33 { -87.33 } else { x };
    let x = if x > 88.37 { 88.37 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3).mul_add(r, 4.166_579_6e-2).mul_add(r, 1.666_666_5e-1).mul_add(r, 0.5);
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23).wrapping_add(1.0f32.to_bits()));
    p.mul_add(r * r, r + 1.0) * power
}

/// Computes the standard normal distribution's share below `x`, and its density at `x`; off by at most 1.5e-7.
///
/// # Source
/// Abramowitz and Stegun 1964, 7.1.26, for the error function.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    let power = exp(-0.5 * x * x);
    let t = 1.0 / x.abs().mul_add(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let p =
        t.mul_add(1.061_405_4, -1.453_152_1).mul_add(t, 1.421_413_8).mul_add(t, -0.284_496_72).mul_add(t, 0.254_829_6);
    let tail = 0.5 * p * t * power;
    (if x < 0.0 { tail } else { 1.0 - tail }, power * 0.398_942_3)
}

/// Computes `ln(1 + e)` for `e` in `0..=1`.
#[inline(always)]
pub(super) fn ln_1p(e: f32) -> f32 {
    let z = e / (2.0 + e); // ln(1 + e) = 2 artanh(z), z in 0..=1/3
    let s = z * z;
    let p = s.mul_add(1.0 / 13.0, 1.0 / 11.0).mul_add(s, 1.0 / 9.0).mul_add(s, 1.0 / 7.0).mul_add(s, 1.0 / 5.0);
    2.0 * z * p.mul_add(s, 1.0 / 3.0).mul_add(s, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_within_a_few_units_in_the_last_place() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) - right).abs() <= right * 3e-7, "{x}: {} {right}", exp(x));
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1e9).is_finite() && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn logarithm_and_normal_distribution_hold_at_known_places() {
        for step in 0..=1000 {
            let e = step as f32 / 1000.0;
            assert!((f64::from(ln_1p(e)) - f64::from(e).ln_1p()).abs() < 2e-7, "{e}");
        }
        // Φ from tables; the density is 1/√(2π) · e^(-x²/2)
        for (x, share) in
            [(0.0, 0.5), (1.0, 0.841_344_8), (-1.0, 0.158_655_25), (1.96, 0.975_002_1), (-3.0, 0.001_349_9)]
        {
            let (got, density) = normal(x);
            assert!((got - share).abs() < 2e-7, "{x}: {got}");
            assert!((density - 0.398_942_3 * (-0.5 * x * x).exp()).abs() < 1e-7);
        }
    }

    #[test]
    fn sum_and_largest_see_every_number() {
        let numbers: Vec<f32> = (0..77).map(|n| n as f32).collect();
        assert_eq!(sum(77, |n| numbers[n]), 2926.0);
        assert_eq!(largest(&numbers), 76.0);
        assert_eq!(sum(0, |_| 1.0), 0.0);
    }
}
