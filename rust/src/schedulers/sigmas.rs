//! Noise levels: sigma is the standard deviation of the noise over the scale of the signal.

use super::beta_distribution::beta_quantile;
use super::choices::FinalSigmasType;
use super::config::SchedulerConfig;
use super::run::Run;
use super::spacing::{TimestepSpacing, linspace};
use crate::error::{Error, Result};

/// Where the noise levels of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SigmaSchedule {
    /// The training schedule's at the run's timesteps.
    Training,
    /// Karras et al. (2022), equation 5, rho 7.
    Karras,
    /// Evenly spaced logarithms.
    Exponential,
    /// Quantiles of the beta distribution with alpha and beta 0.6: Lee et al. (2024), "Beta Sampling is All You Need".
    Beta,
}

impl SigmaSchedule {
    /// `count` sigmas from `max` down to `min`, as `_convert_to_karras`, `_convert_to_exponential` and
    /// `_convert_to_beta` have them; `None` for those of training, which lie at timesteps.
    pub(super) fn spread(self, (max, min): (f64, f64), count: usize) -> Option<Vec<f64>> {
        const RHO: f64 = 7.0;
        Some(match self {
            Self::Training => return None,
            Self::Karras => {
                let (max, min) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
                linspace(0.0, 1.0, count).into_iter().map(|ramp| (max + ramp * (min - max)).powf(RHO)).collect()
            }
            Self::Exponential => linspace(max.ln(), min.ln(), count).into_iter().map(f64::exp).collect(),
            Self::Beta => {
                let share = |ramp: f64| beta_quantile(1.0 - ramp);
                linspace(0.0, 1.0, count).into_iter().map(|ramp| min + share(ramp) * (max - min)).collect()
            }
        })
    }
}

/// The ends of a run's sigmas: the configuration's own limits, else `from` and `to`.
pub(super) fn limits(config: &SchedulerConfig, from: f64, to: f64) -> (f64, f64) {
    (config.sigma_max.unwrap_or(from), config.sigma_min.unwrap_or(to))
}

/// Sigmas of the training timesteps, rising, and what is derived from them.
pub(super) struct TrainSigmas(Vec<f32>);

impl TrainSigmas {
    /// `((1 - alphas_cumprod) / alphas_cumprod) ** 0.5`.
    pub(super) fn new(alphas_cumprod: &[f32]) -> Self {
        Self(alphas_cumprod.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect())
    }

    /// The sigma of training timestep 0.
    pub(super) fn first(&self) -> f64 {
        self.0.first().copied().map_or(0.0, f64::from)
    }

    /// The sigma of the last training timestep.
    pub(super) fn last(&self) -> f64 {
        self.0.last().copied().map_or(0.0, f64::from)
    }

    /// `np.interp(timesteps, np.arange(len(sigmas)), sigmas)`.
    pub(super) fn at(&self, timesteps: &[f64]) -> Vec<f64> {
        let end = (self.0.len() - 1) as f64;
        let interpolate = |t: f64| {
            let low = t.floor();
            let value = |i: f64| f64::from(self.0[i as usize]);
            if t <= 0.0 {
                self.first()
            } else if t >= end {
                self.last()
            } else if low == t {
                value(low)
            } else {
                (value(low + 1.0) - value(low)) * (t - low) + value(low)
            }
        };
        timesteps.iter().map(|&t| interpolate(t)).collect()
    }

    /// `_sigma_to_t`: the fractional timesteps that have these sigmas, by interpolation between logarithms.
    pub(super) fn timesteps_of(&self, sigmas: &[f64]) -> Vec<f64> {
        let logs: Vec<f32> = self.0.iter().map(|&sigma| numpy_log(sigma)).collect();
        let timestep = |sigma: &f64| {
            let log = sigma.max(1e-10).ln();
            let below = logs.partition_point(|&known| f64::from(known) <= log);
            let low = below.saturating_sub(1).min(logs.len().saturating_sub(2));
            let (Some(&from), Some(&to)) = (logs.get(low), logs.get(low + 1)) else { return 0.0 };
            let weight = ((f64::from(from) - log) / f64::from(from - to)).clamp(0.0, 1.0);
            (1.0 - weight) * low as f64 + weight * (low + 1) as f64
        };
        sigmas.iter().map(timestep).collect()
    }
}

/// The timesteps as f32 holds them.
pub(super) fn to_f32_values(timesteps: Vec<f64>) -> Vec<f64> {
    timesteps.into_iter().map(|t| f64::from(t as f32)).collect()
}

/// `timesteps` and `sigmas` as they are, or where the run spreads its sigmas those between the same ends, or between
/// `limits`, with the timesteps found from them.
pub(super) fn spread_between(
    run: &Run<'_>,
    train: &TrainSigmas,
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    limits: impl Fn(f64, f64) -> (f64, f64),
) -> (Vec<f64>, Vec<f64>) {
    let ends = sigmas.first().zip(sigmas.last()).map_or((1.0, 1.0), |(from, to)| limits(*from, *to));
    match run.sigma_schedule.spread(ends, run.steps) {
        Some(sigmas) => (to_f32_values(train.timesteps_of(&sigmas)), sigmas),
        None => (timesteps, sigmas),
    }
}

/// The scale of the first sample: the largest sigma, or with leading spacing that of noise on top of a unit signal.
pub(super) fn init_noise_sigma(sigmas: &[f64], spacing: TimestepSpacing) -> f64 {
    let max = sigmas.iter().fold(0.0_f64, |max, &sigma| max.max(sigma)) as f32;
    f64::from(if spacing == TimestepSpacing::Leading { (max * max + 1.0).sqrt() } else { max })
}

/// The sigma after the last step.
pub(super) fn last_sigma(config: &SchedulerConfig, train: &TrainSigmas) -> f64 {
    match config.final_sigmas_type {
        FinalSigmasType::Zero => 0.0,
        FinalSigmasType::SigmaMin => train.first(),
    }
}

/// The sigmas of a run with `last` appended, rounded to f32 as diffusers keeps them.
///
/// # Errors
/// [`Error::Checkpoint`] where a step would start from a sigma that is zero or not finite.
pub(super) fn finish(mut sigmas: Vec<f64>, last: f64) -> Result<Vec<f64>> {
    for sigma in &mut sigmas {
        *sigma = f64::from(*sigma as f32);
        if !(sigma.is_finite() && *sigma > 0.0) {
            return Err(Error::Checkpoint(format!(
                "scheduler_config.json: a step would start from sigma {sigma}, supported are positive numbers"
            )));
        }
    }
    sigmas.push(f64::from(last as f32));
    Ok(sigmas)
}

/// numpy's f32 logarithm, bit for bit (the polynomial of its AVX2 and AVX-512 loops, up to 4 ulp off): between close
/// sigmas its error moves the timestep found.
#[expect(clippy::excessive_precision, reason = "the constants as numpy writes them")]
fn numpy_log(x: f32) -> f32 {
    const P: [f32; 5] = [
        2.589_979_117_907_922_693_523e-2,
        3.808_837_741_388_407_920_751e-1,
        1.480_000_633_576_506_585_156,
        2.112_677_543_073_053_063_722,
        9.999_999_999_999_998_702_752e-1,
    ];
    const Q: [f32; 5] = [
        5.875_095_403_124_574_342_950e-3,
        1.546_476_374_983_906_719_538e-1,
        9.864_942_958_519_418_960_339e-1,
        2.453_006_071_784_736_363_091,
        2.612_677_543_073_109_236_779,
    ];
    if !x.is_normal() || x < 0.0 {
        return x.ln();
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let above = mantissa > std::f32::consts::SQRT_2;
    let (mantissa, exponent) = if above { (mantissa * 0.5, exponent + 1.0) } else { (mantissa, exponent) };
    let x = mantissa - 1.0;
    let horner = |coefficients: [f32; 5], last: f32| {
        coefficients.into_iter().chain([last]).reduce(|sum, next| sum.mul_add(x, next)).unwrap_or(last)
    };
    exponent.mul_add(std::f32::consts::LN_2, horner(P, 0.0) / horner(Q, 1.0))
}
