//! Euler's method that goes down further than the next sigma and comes back up with fresh noise: `sample_euler_ancestral` of k-diffusion.

use candle_core::Tensor;

use super::euler::advance;
use super::samples::{at, combine, to_f32, unit_variance};
use super::sigmas::{TrainSigmas, finish, init_noise_sigma, to_f32_values};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::Result;

/// diffusers' `EulerAncestralDiscreteScheduler`.
pub(super) struct EulerAncestral {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    steps: Vec<Step>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
}

struct Step {
    sigma: f32,
    down: f32,
    up: f32,
}

impl Step {
    fn new(from: f32, to: f32) -> Self {
        let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
        // After a long way down the difference can round to just below zero.
        Self { sigma: from, down: (to * to - up * up).max(0.0).sqrt(), up }
    }
}

impl EulerAncestral {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let timesteps = to_f32_values(run.timesteps());
        let sigmas = finish(TrainSigmas::new(&run.alphas_cumprod).at(&timesteps), 0.0)?;
        Ok(Self {
            steps: sigmas.windows(2).map(|pair| Step::new(pair[0] as f32, pair[1] as f32)).collect(),
            init_noise_sigma: init_noise_sigma(&sigmas, run.spacing),
            prediction_type: run.config.prediction_type,
            timesteps,
            sigmas,
        })
    }
}

impl Scheduler for EulerAncestral {
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
        noise: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let step = at(&self.steps, index)?;
        let (output, sample_f32) = to_f32(model_output, sample)?;
        let (down, original) = advance(self.prediction_type, &output, &sample_f32, step.sigma, step.down)?;
        let next = combine(1.0, &down, step.up, &noise(down.shape())?)?;
        StepOutput::new(&next, &original, sample.dtype())
    }
}
