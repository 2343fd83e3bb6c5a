//! Denoising diffusion implicit models: Song et al. (2020), formulas 12 and 16.

use candle_core::Tensor;

use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput, TimestepSpacing, at, combine, divide, to_f32};
use crate::error::{Error, Result};

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
    pub(super) fn new(run: &Run, eta: f64) -> Result<Self> {
        let mut timesteps = run.timesteps();
        if run.spacing == TimestepSpacing::Linspace {
            timesteps.iter_mut().for_each(|t| *t = t.round_ties_even());
        }
        let stride = (run.train_timesteps() / run.steps) as f64;
        let final_alpha = if run.config.set_alpha_to_one { None } else { run.alphas_cumprod.first().copied() };
        let steps = timesteps.iter().map(|&timestep| {
            let alpha = match run.alphas_cumprod.get(timestep as usize) {
                Some(&alpha) if timestep >= 0.0 => alpha,
                _ => {
                    return Err(Error::invalid(
                        "num_inference_steps",
                        run.steps,
                        format!("fewer: timestep {timestep} lies outside 0 to {}", run.train_timesteps() - 1),
                    ));
                }
            };
            if alpha >= 1.0 {
                return Err(Error::Checkpoint(format!(
                    "scheduler_config.json: its betas leave no noise at timestep {timestep}, where a step would start"
                )));
            }
            let previous = timestep - stride;
            let previous =
                if previous >= 0.0 { run.alphas_cumprod.get(previous as usize).copied() } else { final_alpha };
            Ok(Step::new(alpha, previous.unwrap_or(1.0), eta as f32))
        });
        Ok(Self {
            steps: steps.collect::<Result<_>>()?,
            timesteps,
            eta,
            prediction_type: run.config.prediction_type,
            clip_sample_range: run.config.clip_sample_range,
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

    fn sigmas(&self) -> &[f64] {
        &[]
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor> {
        at(&self.steps, index)?;
        Ok(sample.clone())
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
        let (alpha, beta) = (step.alpha_prod_sqrt, step.beta_prod_sqrt);
        let (original, epsilon) = match self.prediction_type {
            PredictionType::Epsilon => (divide(&combine(1.0, &sample, -beta, &output)?, alpha)?, output),
            PredictionType::Sample => {
                let epsilon = divide(&combine(1.0, &sample, -alpha, &output)?, beta)?;
                (output, epsilon)
            }
            PredictionType::VPrediction => {
                (combine(alpha, &sample, -beta, &output)?, combine(alpha, &output, beta, &sample)?)
            }
        };
        let original = match self.clip_sample_range {
            Some(range) => original.clamp(-range, range)?,
            None => original,
        };
        let mut previous = combine(step.alpha_prod_prev_sqrt, &original, step.direction, &epsilon)?;
        if self.eta > 0.0 {
            previous = combine(1.0, &previous, step.std_dev, &noise(previous.shape())?)?;
        }
        StepOutput::new(&previous, &original, dtype)
    }
}
