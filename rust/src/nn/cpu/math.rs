//! Elementary functions written so that the compiler vectorises loops over them.

/// e^x for f32 to about 1 ulp, by the polynomial of Cephes' `expf`. Underflow ends at e^-87, overflow at e^88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let fraction = p * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    fraction * scale
}

/// Logistic function.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Error function for f32 to 6 ulp, by the rational approximation that Eigen uses; exactly 1 and -1 from 4 on.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = 2.123_732_2e-6_f32;
    p = p * s + 2.861_979_6e-4;
    p = p * s + 3.658_048_3e-3;
    p = p * s + 5.243_302e-2;
    p = p * s + 1.874_160_8e-1;
    p = p * s + std::f32::consts::FRAC_2_SQRT_PI;
    let mut q = 3.891_857_3e-5_f32;
    q = q * s + 1.143_296e-3;
    q = q * s + 1.475_208_8e-2;
    q = q * s + 1.129_456_8e-1;
    q = q * s + 4.994_258e-1;
    q = q * s + 1.0;
    (x * p / q).clamp(-1.0, 1.0)
}

/// x times the normal distribution's function at x (Hendrycks and Gimpel 2016), by [`erf`].
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Sum of `f` over the values, in f64 and vectorised.
#[inline(always)]
pub fn sum_by(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0f64; 32];
    let mut chunks = values.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(f64::from(*value));
        }
    }
    let rest = chunks.remainder().iter().map(|value| f(f64::from(*value))).sum::<f64>();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| from + (to - from) * i as f32 / 200_000.0)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for x in grid(-86.0, 87.0) {
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 2.5e-7, "exp({x})");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn erf_is_within_a_few_ulp() {
        for x in grid(-6.0, 6.0) {
            let want = libm::erf(f64::from(x));
            assert!((f64::from(erf(x)) - want).abs() <= 3.6e-7 * want.abs(), "erf({x})");
        }
        for x in [4.0, 5.0, 1e30, f32::INFINITY] {
            assert_eq!((erf(x), erf(-x)), (1.0, -1.0), "erf({x})");
        }
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn sums_keep_what_a_running_f32_sum_loses() {
        let values = vec![0.1f32; 1 << 22];
        let want = f64::from(0.1f32) * f64::from(1 << 22);
        assert!((sum_by(&values, |v| v) / want - 1.0).abs() < 1e-12);
        assert!((f64::from(values.iter().sum::<f32>()) / want - 1.0).abs() > 1e-3);
    }
}
