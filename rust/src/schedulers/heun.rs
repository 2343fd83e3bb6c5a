//! Heun's method in sigma: Karras et al. (2022), algorithm 1. Each interval takes two calls of the network, the last
//! one, which ends without noise, one.

use candle_core::Tensor;

use super::samples::{at, clip, combine, divide, to_f32, unit_variance};
use super::sigmas::{TrainSigmas, finish, init_noise_sigma, limits, spread_between, to_f32_values};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::{Error, Result};

/// diffusers' `HeunDiscreteScheduler`.
pub(super) struct Heun {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    steps: Vec<Step>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
    clip_sample_range: Option<f64>,
    /// What the first step of an interval leaves for the second.
    half: Option<Half>,
}

struct Step {
    /// Of the sample that the network sees.
    sigma: f32,
    /// From one end of the interval to the other.
    way: f32,
    second: bool,
}

struct Half {
    index: usize,
    sample: Tensor,
    derivative: Tensor,
}

impl Heun {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let timesteps = to_f32_values(run.timesteps());
        let sigmas = train.at(&timesteps);
        let limits = |from, to| limits(run.config, from, to);
        let (timesteps, sigmas) = spread_between(run, &train, timesteps, sigmas, limits);
        let sigmas = finish(sigmas, 0.0)?;
        let steps = sigmas.windows(2).flat_map(|pair| {
            let (sigma, next) = (pair[0] as f32, pair[1] as f32);
            let way = next - sigma;
            [Step { sigma, way, second: false }, Step { sigma: next, way, second: true }]
        });
        let mut steps: Vec<_> = steps.collect();
        steps.pop();
        Ok(Self {
            timesteps: twice_but_first(&timesteps),
            init_noise_sigma: init_noise_sigma(&sigmas, run.spacing),
            prediction_type: run.config.prediction_type,
            clip_sample_range: run.clip_sample_range(),
            sigmas: steps.iter().map(|step| f64::from(step.sigma)).chain([0.0]).collect(),
            steps,
            half: None,
        })
    }
}

/// The first value, and each other one two times.
fn twice_but_first(values: &[f64]) -> Vec<f64> {
    values.iter().flat_map(|&value| [value; 2]).skip(1).collect()
}

impl Scheduler for Heun {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    fn order(&self) -> usize {
        2
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
        let original = self.prediction_type.original_at(step.sigma, &output, &sample_f32)?;
        let original = clip(original, self.clip_sample_range)?;
        let derivative = divide(&(&sample_f32 - &original)?, step.sigma)?;
        let half = self.half.take().filter(|half| half.index + 1 == index);
        let next = match half.filter(|_| step.second) {
            Some(half) => combine(1.0, &half.sample, 0.5 * step.way, &(half.derivative + derivative)?)?,
            None if step.second => {
                return Err(Error::Inference(format!(
                    "scheduler: step {index} is the second of two of heun, and the first was not taken"
                )));
            }
            None => {
                let next = combine(1.0, &sample_f32, step.way, &derivative)?;
                self.half = Some(Half { index, sample: sample_f32, derivative });
                next
            }
        };
        StepOutput::new(&next, &original, sample.dtype())
    }
}
