//! Euler's method in sigma: Karras et al. (2022), algorithm 2 without churn.

use candle_core::Tensor;

use super::betas::torch_linspace;
use super::samples::{at, combine, divide, to_f32, unit_variance};
use super::sigmas::{TrainSigmas, finish, init_noise_sigma, last_sigma, limits, spread_between, to_f32_values};
use super::{InterpolationType, NoiseSource, PredictionType, Run, Scheduler, StepOutput, TimestepType};
use crate::error::Result;

/// diffusers' `EulerDiscreteScheduler`.
pub(super) struct Euler {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    steps: Vec<Step>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
}

struct Step {
    sigma: f32,
    next: f32,
}

impl Euler {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let config = run.config;
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let timesteps = to_f32_values(run.timesteps());
        let sigmas = match config.interpolation_type {
            InterpolationType::Linear => train.at(&timesteps),
            InterpolationType::LogLinear => {
                let logs = torch_linspace((train.last() as f32).ln(), (train.first() as f32).ln(), run.steps + 1);
                logs.into_iter().map(|log| f64::from(log.exp())).collect()
            }
        };
        let (mut timesteps, sigmas) =
            spread_between(run, &train, timesteps, sigmas, |from, to| limits(config, from, to));
        let mut sigmas = finish(sigmas, last_sigma(config, &train))?;
        if config.timestep_type == TimestepType::Continuous && config.prediction_type == PredictionType::VPrediction {
            timesteps = sigmas[..sigmas.len() - 1].iter().map(|&s| f64::from(0.25 * (s as f32).ln())).collect();
        } else {
            // diffusers has one log-linear sigma too many, so that the final one is never reached.
            sigmas.truncate(timesteps.len() + 1);
        }
        let steps = sigmas.windows(2).map(|pair| Step { sigma: pair[0] as f32, next: pair[1] as f32 }).collect();
        Ok(Self {
            init_noise_sigma: init_noise_sigma(&sigmas, run.spacing),
            prediction_type: config.prediction_type,
            timesteps,
            sigmas,
            steps,
        })
    }
}

/// The sample that goes along the derivative from `sigma` to `to`, and the clean sample foreseen, all in f32.
pub(super) fn advance(
    prediction_type: PredictionType,
    output: &Tensor,
    sample: &Tensor,
    sigma: f32,
    to: f32,
) -> Result<(Tensor, Tensor)> {
    let original = prediction_type.original_at(sigma, output, sample)?;
    let derivative = divide(&(sample - &original)?, sigma)?;
    Ok((combine(1.0, sample, to - sigma, &derivative)?, original))
}

impl Scheduler for Euler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor> {
        unit_variance(sample, at(&self.steps, index)?.sigma)
    }

    fn shares(&self, index: usize) -> Result<(f32, f32)> {
        Ok((1.0, at(&self.steps, index)?.sigma))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        _: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let step = at(&self.steps, index)?;
        let (output, sample_f32) = to_f32(model_output, sample)?;
        let (next, original) = advance(self.prediction_type, &output, &sample_f32, step.sigma, step.next)?;
        StepOutput::new(&next, &original, sample.dtype())
    }
}
