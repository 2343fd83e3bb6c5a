//! Quantiles of the beta distribution of beta sigmas.

/// Both parameters of the distribution.
const SHAPE: f64 = 0.6;

/// `scipy.stats.beta.ppf(probability, 0.6, 0.6)` for a probability of 0 to 1.
pub(super) fn beta_quantile(probability: f64) -> f64 {
    // The distribution is symmetric, and the series below needs the lower half.
    if probability > 0.5 { 1.0 - lower_quantile(1.0 - probability) } else { lower_quantile(probability) }
}

/// The quantile of a probability of 0 to 0.5, by Newton's method on the distribution function.
///
/// In terms of `u = x ** SHAPE` the function is convex and rising, so that from the right end the method falls to the
/// root without ever passing it.
fn lower_quantile(probability: f64) -> f64 {
    let right = 0.5_f64.powf(SHAPE);
    let target = 2.0 * probability * right * series(0.5).0;
    let mut u = right;
    for _ in 0..100 {
        let x = u.powf(1.0 / SHAPE);
        let (value, slope) = series(x);
        let next = u - (u * value - target) / slope;
        if (next - u).abs() <= f64::EPSILON * u {
            break;
        }
        u = next.max(0.0);
    }
    u.powf(1.0 / SHAPE)
}

/// The incomplete beta function over `x ** SHAPE`, and its derivative by `x ** SHAPE`, for x of 0 to 0.5: both from the
/// series of NIST DLMF 8.17.7.
fn series(x: f64) -> (f64, f64) {
    let (mut value, mut slope, mut term) = (0.0, 0.0, 1.0);
    for n in 0..100 {
        let n = f64::from(n);
        value += term / (SHAPE + n);
        slope += term / SHAPE;
        term *= (1.0 - SHAPE + n) / (n + 1.0) * x;
    }
    (value, slope)
}
