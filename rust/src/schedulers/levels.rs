//! Noise levels and timesteps of the solvers that work on the log signal-to-noise ratio.

use super::run::Run;
use super::sigmas::{SigmaSchedule, TrainSigmas, limits};
use super::spacing::{TimestepSpacing, leading, linspace, trailing};
use crate::error::{Error, Result};

/// A noise level as `_sigma_to_alpha_sigma_t` splits it, with its log signal-to-noise ratio. In f64, because the weights
/// of multistep methods are differences of nearly equal numbers: diffusers in f32 is up to 2e-2 off from itself in f64.
pub(super) struct Level {
    pub(super) alpha: f64,
    pub(super) sigma: f64,
    pub(super) lambda: f64,
}

impl Level {
    pub(super) fn new(sigma: f64) -> Self {
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        let sigma = sigma * alpha;
        Self { alpha, sigma, lambda: alpha.ln() - sigma.ln() }
    }
}

/// The run's timesteps and sigmas, the final one not among them, over the first `visited` timesteps of training.
/// `round` makes whole numbers of timesteps that are found from sigmas.
///
/// # Errors
/// [`Error::InvalidParams`] for more steps than leading spacing has room for.
pub(super) fn timesteps_and_sigmas(
    run: &Run<'_>,
    train: &TrainSigmas,
    visited: usize,
    round: impl Fn(SigmaSchedule, f64) -> f64,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let timesteps = spaced(run, visited)?;
    let ends = limits(run.config, train.last(), train.first());
    Ok(match run.sigma_schedule.spread(ends, run.steps) {
        Some(sigmas) => {
            let timesteps = train.timesteps_of(&sigmas).into_iter();
            (timesteps.map(|timestep| round(run.sigma_schedule, timestep)).collect(), sigmas)
        }
        None => {
            let sigmas = train.at(&timesteps);
            (timesteps, sigmas)
        }
    })
}

/// The timesteps by spacing; these classes leave out one end where the others do not.
fn spaced(run: &Run<'_>, visited: usize) -> Result<Vec<f64>> {
    let points = run.steps + 1;
    Ok(match run.spacing {
        TimestepSpacing::Leading if visited < points => {
            return Err(Error::invalid(
                "num_inference_steps",
                run.steps,
                format!("1 to {} with leading spacing", visited - 1),
            ));
        }
        TimestepSpacing::Leading => {
            let mut timesteps = leading(points, visited / points, run.config.steps_offset);
            timesteps.pop();
            timesteps
        }
        TimestepSpacing::Trailing => trailing(visited, run.train_timesteps() as f64 / run.steps as f64),
        TimestepSpacing::Linspace => {
            let timesteps = linspace(0.0, (visited - 1) as f64, points);
            timesteps.into_iter().skip(1).rev().map(f64::round_ties_even).collect()
        }
    })
}
