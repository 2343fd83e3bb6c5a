//! Trajectory consistency distillation: Zheng et al. (2024), algorithm 4, strategic stochastic sampling, whose gamma is
//! diffusers' eta.

use candle_core::Tensor;

use super::distillation;
use super::samples::{at, combine, to_f32};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::Result;

/// diffusers' `TCDScheduler`.
pub(super) struct Tcd {
    timesteps: Vec<f64>,
    steps: Vec<Step>,
    prediction_type: PredictionType,
}

/// The coefficients of one step, from timestep t to s and with fresh noise back up to the next.
struct Step {
    alpha_prod_t_sqrt: f32,
    beta_prod_t_sqrt: f32,
    alpha_prod_s_sqrt: f32,
    beta_prod_s_sqrt: f32,
    /// Of the sample at s and of fresh noise; `None` where none is drawn.
    back: Option<(f32, f32)>,
}

impl Tcd {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let timesteps = distillation::timesteps(run)?;
        let keep = (1.0 - run.eta) as f32;
        let step = |(index, &timestep): (usize, &f64)| {
            let alpha_t = run.starting_alpha(timestep)?;
            let next = timesteps.get(index + 1).copied();
            let alpha_s = run.alpha_or_final(f64::from((keep * next.unwrap_or(0.0) as f32).floor()));
            let back = next.filter(|_| run.eta > 0.0).map(|next| run.alpha_or_final(next) / alpha_s);
            Ok(Step {
                alpha_prod_t_sqrt: alpha_t.sqrt(),
                beta_prod_t_sqrt: (1.0 - alpha_t).sqrt(),
                alpha_prod_s_sqrt: alpha_s.sqrt(),
                beta_prod_s_sqrt: (1.0 - alpha_s).sqrt(),
                back: back.map(|ratio| (ratio.sqrt(), (1.0 - ratio).sqrt())),
            })
        };
        Ok(Self {
            steps: timesteps.iter().enumerate().map(step).collect::<Result<_>>()?,
            prediction_type: run.config.prediction_type,
            timesteps,
        })
    }
}

impl Scheduler for Tcd {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn shares(&self, index: usize) -> Result<(f32, f32)> {
        let step = at(&self.steps, index)?;
        Ok((step.alpha_prod_t_sqrt, step.beta_prod_t_sqrt))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let step = at(&self.steps, index)?;
        let (output, sample_f32) = to_f32(model_output, sample)?;
        let (alpha, beta) = self.shares(index)?;
        let original = self.prediction_type.original(alpha, beta, &output, &sample_f32)?;
        let epsilon = self.prediction_type.epsilon(alpha, beta, &output, &sample_f32)?;
        let mut next = combine(step.alpha_prod_s_sqrt, &original, step.beta_prod_s_sqrt, &epsilon)?;
        if let Some((share, fresh)) = step.back {
            next = combine(share, &next, fresh, &noise(next.shape())?)?;
        }
        StepOutput::new(&next, &original, sample.dtype())
    }
}
