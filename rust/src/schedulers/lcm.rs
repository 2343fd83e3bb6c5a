//! Latent consistency models: Luo et al. (2023), algorithm 3 of its appendix, multistep sampling.

use candle_core::Tensor;

use super::distillation;
use super::samples::{at, clip, combine, to_f32};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::Result;

/// The standard deviation of the data, for the boundary conditions of Song et al. (2023), appendix C.
const SIGMA_DATA: f32 = 0.5;

/// diffusers' `LCMScheduler`.
pub(super) struct Lcm {
    timesteps: Vec<f64>,
    steps: Vec<Step>,
    prediction_type: PredictionType,
    clip_sample_range: Option<f64>,
}

struct Step {
    alpha_prod_sqrt: f32,
    beta_prod_sqrt: f32,
    c_skip: f32,
    c_out: f32,
    /// Of the clean sample and of fresh noise at the next step; `None` in the last.
    next: Option<(f32, f32)>,
}

impl Lcm {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let timesteps = distillation::timesteps(run)?;
        let step = |(index, &timestep): (usize, &f64)| {
            let alpha = run.starting_alpha(timestep)?;
            let scaled = timestep as f32 * run.config.timestep_scaling as f32;
            let square = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
            let next = timesteps.get(index + 1).map(|&next| run.alpha_or_final(next));
            Ok(Step {
                alpha_prod_sqrt: alpha.sqrt(),
                beta_prod_sqrt: (1.0 - alpha).sqrt(),
                c_skip: SIGMA_DATA * SIGMA_DATA / square,
                c_out: scaled / square.sqrt(),
                next: next.map(|alpha| (alpha.sqrt(), (1.0 - alpha).sqrt())),
            })
        };
        Ok(Self {
            steps: timesteps.iter().enumerate().map(step).collect::<Result<_>>()?,
            prediction_type: run.config.prediction_type,
            clip_sample_range: run.clip_sample_range(),
            timesteps,
        })
    }
}

impl Scheduler for Lcm {
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
        let (output, sample_f32) = to_f32(model_output, sample)?;
        let (alpha, beta) = self.shares(index)?;
        let original = self.prediction_type.original(alpha, beta, &output, &sample_f32)?;
        let original = clip(original, self.clip_sample_range)?;
        let denoised = combine(step.c_out, &original, step.c_skip, &sample_f32)?;
        let next = match step.next {
            Some((signal, share)) => combine(signal, &denoised, share, &noise(denoised.shape())?)?,
            None => denoised.clone(),
        };
        StepOutput::new(&next, &denoised, sample.dtype())
    }
}
