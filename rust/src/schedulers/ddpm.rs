//! Denoising diffusion probabilistic models: Ho et al. (2020), formulas 7 and 15.

use candle_core::Tensor;

use super::samples::{at, clip, combine, to_f32};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput, VarianceType};
use crate::error::Result;

/// The least variance, whose logarithm diffusers may take.
const LEAST_VARIANCE: f32 = 1e-20;

/// diffusers' `DDPMScheduler`.
pub(super) struct Ddpm {
    timesteps: Vec<f64>,
    steps: Vec<Step>,
    prediction_type: PredictionType,
    clip_sample_range: Option<f64>,
}

/// The coefficients of one step.
struct Step {
    alpha_prod_sqrt: f32,
    beta_prod_sqrt: f32,
    original: f32,
    sample: f32,
    /// Of fresh noise; `None` from timestep 0, where diffusers draws none.
    std_dev: Option<f32>,
}

impl Ddpm {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let timesteps = run.whole_timesteps()?;
        let step = |(index, &timestep): (usize, &f64)| {
            let alpha = run.starting_alpha(timestep)?;
            let previous = timesteps.get(index + 1).map_or(1.0, |&previous| run.alpha_or_final(previous));
            let mut step = Step::new(alpha, previous, run.config.variance_type);
            step.std_dev = step.std_dev.filter(|_| timestep > 0.0);
            Ok(step)
        };
        Ok(Self {
            steps: timesteps.iter().enumerate().map(step).collect::<Result<_>>()?,
            prediction_type: run.config.prediction_type,
            clip_sample_range: run.clip_sample_range(),
            timesteps,
        })
    }
}

impl Step {
    fn new(alpha_prod: f32, alpha_prod_prev: f32, variance_type: VarianceType) -> Self {
        let (beta_prod, beta_prod_prev) = (1.0 - alpha_prod, 1.0 - alpha_prod_prev);
        let alpha = alpha_prod / alpha_prod_prev;
        let beta = 1.0 - alpha;
        let variance = match variance_type {
            VarianceType::FixedSmall => (beta_prod_prev / beta_prod * beta).max(LEAST_VARIANCE),
            VarianceType::FixedLarge => beta,
        };
        Self {
            alpha_prod_sqrt: alpha_prod.sqrt(),
            beta_prod_sqrt: beta_prod.sqrt(),
            original: alpha_prod_prev.sqrt() * beta / beta_prod,
            sample: alpha.sqrt() * beta_prod_prev / beta_prod,
            std_dev: Some(variance.sqrt()),
        }
    }
}

impl Scheduler for Ddpm {
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
        let mut previous = combine(step.original, &original, step.sample, &sample_f32)?;
        if let Some(std_dev) = step.std_dev {
            previous = combine(1.0, &previous, std_dev, &noise(previous.shape())?)?;
        }
        StepOutput::new(&previous, &original, sample.dtype())
    }
}
