//! The training noise schedules, in the precision that torch computes them in.

use serde_json::Value;

use super::fields::{Fields, bad, number};
use super::kind::ClassDefaults;
use crate::error::{Error, Result};

/// The longest training schedule that is believed; all published ones have 1000 steps.
pub(super) const MAX_TRAIN_TIMESTEPS: u64 = 100_000;

/// A formula for betas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BetaSchedule {
    /// Evenly spaced.
    Linear,
    /// Evenly spaced square roots; Stable Diffusion's.
    ScaledLinear,
    /// The cosine schedule of Nichol and Dhariwal (2021), betas at most 0.999.
    SquaredcosCapV2,
}

/// The betas of a training schedule, not yet computed.
#[derive(Debug, Clone)]
pub struct Betas {
    /// `num_train_timesteps`, at least 1.
    pub count: usize,
    /// The first beta of the linear schedules; the default differs by kind.
    pub start: Option<f64>,
    /// Their last beta; the default differs by kind.
    pub end: Option<f64>,
    /// The formula; the default differs by kind.
    pub schedule: Option<BetaSchedule>,
    /// Betas that replace the formula, `count` of them.
    pub trained: Option<Vec<f32>>,
}

impl Betas {
    /// Reads the keys of a `scheduler_config.json` that say them.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let count = fields.integer("num_train_timesteps", 1000, MAX_TRAIN_TIMESTEPS)?;
        if count == 0 {
            return Err(bad("num_train_timesteps", count, format!("1 to {MAX_TRAIN_TIMESTEPS}")));
        }
        let count = count as usize;
        let unit = |x: f64| (0.0..1.0).contains(&x);
        const ALLOWED: &str = "a number from 0 to below 1";
        let start = fields.number("beta_start", unit, ALLOWED)?;
        let end = fields.number("beta_end", unit, ALLOWED)?;
        let schedule = match fields.get("trained_betas") {
            None | Some(Value::Null) => fields.choice(
                "beta_schedule",
                &[
                    ("linear", BetaSchedule::Linear),
                    ("scaled_linear", BetaSchedule::ScaledLinear),
                    ("squaredcos_cap_v2", BetaSchedule::SquaredcosCapV2),
                ],
            )?,
            Some(given) => {
                let allowed = format!("{count} numbers (num_train_timesteps) from 0 to below 1");
                let list = given.as_array().filter(|list| list.len() == count);
                let list = list.ok_or_else(|| match given {
                    Value::Array(list) => bad("trained_betas", format!("a list of {}", list.len()), &allowed),
                    other => bad("trained_betas", other, &allowed),
                })?;
                let betas = list.iter().map(|beta| match number(beta).filter(|&beta| unit(beta)) {
                    Some(beta) => Ok(beta as f32),
                    None => Err(bad("trained_betas", beta, &allowed)),
                });
                // The formula is not used, but dpm++ rounds its timesteps by the name of this one.
                let cosine = fields.get("beta_schedule").and_then(Value::as_str) == Some("squaredcos_cap_v2");
                let schedule = Some(if cosine { BetaSchedule::SquaredcosCapV2 } else { BetaSchedule::Linear });
                return Ok(Self { count, start, end, schedule, trained: Some(betas.collect::<Result<_>>()?) });
            }
        };
        Ok(Self { count, start, end, schedule, trained: None })
    }

    /// `torch.cumprod(1 - betas)`: the share of signal at each training timestep, falling, in 0 < a ≤ 1. With `zero_snr`
    /// the betas are rescaled before, and the last one is 0.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the signal underflows to nothing.
    pub(super) fn alphas_cumprod(&self, defaults: &ClassDefaults, zero_snr: bool) -> Result<Vec<f32>> {
        let betas = self.values(defaults);
        let alphas = cumulative(&if zero_snr { rescale_zero_terminal_snr(&betas) } else { betas });
        // What rescaling leaves at the end is nothing on purpose.
        let checked = if zero_snr { &alphas[..alphas.len() - 1] } else { &alphas[..] };
        let bad = |alpha: &f32| alpha.is_nan() || *alpha <= 0.0;
        match checked.iter().position(bad).or_else(|| alphas.iter().position(|alpha| alpha.is_nan())) {
            Some(timestep) => Err(Error::Checkpoint(format!(
                "scheduler_config.json: its betas leave no signal at timestep {timestep} of {}",
                self.count
            ))),
            None => Ok(alphas),
        }
    }

    fn values(&self, defaults: &ClassDefaults) -> Vec<f32> {
        if let Some(trained) = &self.trained {
            return trained.clone();
        }
        let (start, end) = (self.start.unwrap_or(defaults.beta_start), self.end.unwrap_or(defaults.beta_end));
        match self.schedule.unwrap_or(defaults.beta_schedule) {
            BetaSchedule::Linear => torch_linspace(start as f32, end as f32, self.count),
            BetaSchedule::ScaledLinear => {
                let roots = torch_linspace(start.sqrt() as f32, end.sqrt() as f32, self.count);
                roots.into_iter().map(|root| root * root).collect()
            }
            BetaSchedule::SquaredcosCapV2 => {
                let count = self.count as f64;
                let signal = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2);
                let beta = |i: usize| 1.0 - signal((i + 1) as f64 / count) / signal(i as f64 / count);
                (0..self.count).map(|i| beta(i).min(0.999) as f32).collect()
            }
        }
    }
}

fn cumulative(betas: &[f32]) -> Vec<f32> {
    // torch accumulates f32 products in f64.
    let mut product = 1.0_f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

/// Betas whose last timestep has no signal: algorithm 1 of Lin et al. (2023).
fn rescale_zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative(betas).into_iter().map(f32::sqrt).collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else { return Vec::new() };
    let scale = first / (first - last);
    let shares = roots.into_iter().map(|root| ((root - last) * scale).powi(2));
    let mut before = 1.0;
    shares.map(|share| 1.0 - share / std::mem::replace(&mut before, share)).collect()
}

/// `torch.linspace` in f32, bit for bit with PyTorch's x86-64 kernels: symmetric about the middle, fused multiply-adds.
pub(super) fn torch_linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count as f32 - 1.0);
    (0..count)
        .map(
            |i| {
                if i < count / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((count - i - 1) as f32, end) }
            },
        )
        .collect()
}
