//! Denoising diffusion implicit models: Song et al. (2020), formulas 12 and 16.

use candle_core::Tensor;

use super::samples::{at, clip, combine, to_f32};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::Result;

/// diffusers' `DDIMScheduler`.
pub(super) struct Ddim {
    timesteps: Vec<f64>,
    steps: Vec<Step>,
    eta: f64,
    prediction_type: PredictionType,
    clip_sample_range: Option<f64>,
}

/// The coefficients of one step, by their names in diffusers.
struct Step {
    alpha_prod_sqrt: f32,
    beta_prod_sqrt: f32,
    alpha_prod_prev_sqrt: f32,
    direction: f32,
    std_dev: f32,
}

impl Ddim {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let timesteps = run.whole_timesteps()?;
        let step = |&timestep: &f64| {
            let previous = run.alpha_or_final(timestep - run.stride());
            Ok(Step::new(run.starting_alpha(timestep)?, previous, run.eta as f32))
        };
        Ok(Self {
            steps: timesteps.iter().map(step).collect::<Result<_>>()?,
            timesteps,
            eta: run.eta,
            prediction_type: run.config.prediction_type,
            clip_sample_range: run.clip_sample_range(),
        })
    }
}

impl Step {
    fn new(alpha: f32, alpha_prev: f32, eta: f32) -> Self {
        let variance = (1.0 - alpha_prev) / (1.0 - alpha) * (1.0 - alpha / alpha_prev);
        let std_dev = eta * variance.sqrt();
        Self {
            alpha_prod_sqrt: alpha.sqrt(),
            beta_prod_sqrt: (1.0 - alpha).sqrt(),
            alpha_prod_prev_sqrt: alpha_prev.sqrt(),
            // With eta 1 and hardly any signal the difference can round to just below zero.
            direction: (1.0 - alpha_prev - std_dev * std_dev).max(0.0).sqrt(),
            std_dev,
        }
    }
}

impl Scheduler for Ddim {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn shares(&self, index: usize) -> Result<(f32, f32)> {
        let step = at(&self.steps, index)?;
        Ok((step.alpha_prod_sqrt, step.beta_prod_sqrt))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let step = at(&self.steps, index)?;
        let dtype = sample.dtype();
        let (output, sample) = to_f32(model_output, sample)?;
        let (alpha, beta) = self.shares(index)?;
        let original = self.prediction_type.original(alpha, beta, &output, &sample)?;
        let epsilon = self.prediction_type.epsilon(alpha, beta, &output, &sample)?;
        let original = clip(original, self.clip_sample_range)?;
        let mut previous = combine(step.alpha_prod_prev_sqrt, &original, step.direction, &epsilon)?;
        if self.eta > 0.0 {
            previous = combine(1.0, &previous, step.std_dev, &noise(previous.shape())?)?;
        }
        StepOutput::new(&previous, &original, dtype)
    }
}
