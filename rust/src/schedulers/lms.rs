//! Linear multistep in sigma: the Adams-Bashforth method on uneven steps, `sample_lms` of k-diffusion.

use std::collections::VecDeque;

use candle_core::Tensor;

use super::place::Place;
use super::samples::{at, combine, divide, to_f32, unit_variance};
use super::sigmas::{SigmaSchedule, TrainSigmas, finish, init_noise_sigma, limits, spread_between, to_f32_values};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::Result;

/// How many derivatives a step looks back on, its own included.
const ORDER: usize = 4;

/// diffusers' `LMSDiscreteScheduler`.
pub(super) struct Lms {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    steps: Vec<Step>,
    init_noise_sigma: f64,
    prediction_type: PredictionType,
    place: Place,
    /// Of the run's last steps, the latest first.
    derivatives: VecDeque<Tensor>,
}

struct Step {
    sigma: f32,
    /// Of this step's derivative and of those before it.
    weights: Vec<f32>,
}

impl Lms {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let timesteps = to_f32_values(run.timesteps());
        let sigmas = train.at(&timesteps);
        // This class's Karras sigmas alone know no limits of the configuration.
        let limits = |from, to| match run.sigma_schedule {
            SigmaSchedule::Karras => (from, to),
            _ => limits(run.config, from, to),
        };
        let (timesteps, sigmas) = spread_between(run, &train, timesteps, sigmas, limits);
        let sigmas = finish(sigmas, 0.0)?;
        let step = |index: usize| Step { sigma: sigmas[index] as f32, weights: weights(&sigmas, index) };
        Ok(Self {
            steps: (0..timesteps.len()).map(step).collect(),
            init_noise_sigma: init_noise_sigma(&sigmas, run.spacing),
            prediction_type: run.config.prediction_type,
            timesteps,
            sigmas,
            place: Place::default(),
            derivatives: VecDeque::new(),
        })
    }
}

/// `get_lms_coefficient`: the integrals over step `index` of the Lagrange polynomials through its sigma and those before.
fn weights(sigmas: &[f64], index: usize) -> Vec<f32> {
    let order = ORDER.min(index + 1);
    let (from, to) = (sigmas[index], sigmas[index + 1]);
    let (middle, half) = ((from + to) / 2.0, (to - from) / 2.0);
    let polynomial = |current: usize, at: f64| -> f64 {
        let others = (0..order).filter(|&other| other != current);
        others.map(|k| (at - sigmas[index - k]) / (sigmas[index - current] - sigmas[index - k])).product()
    };
    // Two points of Gauss are exact for polynomials up to the third degree.
    let offset = half / 3.0_f64.sqrt();
    let integral = |current| half * (polynomial(current, middle - offset) + polynomial(current, middle + offset));
    (0..order).map(|current| integral(current) as f32).collect()
}

impl Scheduler for Lms {
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
        let original = self.prediction_type.original_at(step.sigma, &output, &sample_f32)?;
        if self.place.enter(index) == 0 {
            self.derivatives.clear();
        }
        self.derivatives.push_front(divide(&(&sample_f32 - &original)?, step.sigma)?);
        self.derivatives.truncate(ORDER);
        let mut next = sample_f32;
        // A run that begins in the middle has fewer derivatives than weights at first. diffusers leaves the others out
        // and does not make up for them, and so do we: its pictures are the measure.
        for (weight, derivative) in step.weights.iter().zip(&self.derivatives) {
            next = combine(1.0, &next, *weight, derivative)?;
        }
        StepOutput::new(&next, &original, sample.dtype())
    }
}
