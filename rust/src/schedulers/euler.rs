//! Euler's method in sigma: Karras et al. (2022), algorithm 2 without churn.

use candle_core::{DType, Tensor};

use super::betas::torch_linspace;
use super::sigmas::{TrainSigmas, finish, karras, last_sigma};
use super::{
    InterpolationType, NoiseSource, PredictionType, Run, Scheduler, StepOutput, TimestepSpacing, TimestepType, at,
};
use super::{combine, divide, to_f32};
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
    pub(super) fn new(run: &Run) -> Result<Self> {
        let config = &run.config;
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let mut timesteps = to_f32_values(run.timesteps());
        let mut sigmas = match config.interpolation_type {
            InterpolationType::Linear => train.at(&timesteps),
            InterpolationType::LogLinear => {
                let logs = torch_linspace((train.last() as f32).ln(), (train.first() as f32).ln(), run.steps + 1);
                logs.into_iter().map(|log| f64::from(log.exp())).collect()
            }
        };
        if config.use_karras_sigmas {
            let ends = sigmas.first().zip(sigmas.last()).map_or((1.0, 1.0), |(from, to)| (*from, *to));
            sigmas = karras(config, ends.0, ends.1, run.steps);
            timesteps = to_f32_values(train.timesteps_of(&sigmas));
        }
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

/// The timesteps as f32 holds them.
pub(super) fn to_f32_values(timesteps: Vec<f64>) -> Vec<f64> {
    timesteps.into_iter().map(|t| f64::from(t as f32)).collect()
}

/// The scale of the first sample: the largest sigma, or with leading spacing that of noise on top of a unit signal.
pub(super) fn init_noise_sigma(sigmas: &[f64], spacing: TimestepSpacing) -> f64 {
    let max = sigmas.iter().fold(0.0_f64, |max, &sigma| max.max(sigma)) as f32;
    f64::from(if spacing == TimestepSpacing::Leading { (max * max + 1.0).sqrt() } else { max })
}

/// `sample / (sigma ** 2 + 1) ** 0.5`: a sample of unit variance.
pub(super) fn unit_variance(sample: &Tensor, sigma: f32) -> Result<Tensor> {
    divide(&sample.to_dtype(DType::F32)?, (sigma * sigma + 1.0).sqrt())?.to_dtype(sample.dtype()).map_err(Into::into)
}

/// The sample that goes along the derivative from `sigma` to `to`, and the clean sample foreseen, all in f32.
pub(super) fn advance(
    prediction_type: PredictionType,
    output: &Tensor,
    sample: &Tensor,
    sigma: f32,
    to: f32,
) -> Result<(Tensor, Tensor)> {
    let original = match prediction_type {
        PredictionType::Epsilon => combine(1.0, sample, -sigma, output)?,
        PredictionType::Sample => output.clone(),
        PredictionType::VPrediction => {
            let square = sigma * sigma + 1.0;
            ((output * f64::from(-sigma / square.sqrt()))? + divide(sample, square)?)?
        }
    };
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
