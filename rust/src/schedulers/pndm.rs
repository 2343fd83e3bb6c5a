//! Pseudo numerical methods for diffusion models: Liu et al. (2022), algorithm 2 and formulas 9, 12 and 13. Without its
//! Runge-Kutta steps, the first step is taken twice instead, after the PLMS sampler of latent diffusion.

use std::collections::VecDeque;

use candle_core::Tensor;

use super::place::Place;
use super::samples::{at, combine, to_f32};
use super::{NoiseSource, PredictionType, Run, Scheduler, StepOutput};
use crate::error::{Error, Result};

/// Runge-Kutta calls before the multistep ones: four in each of three intervals.
const PRK_CALLS: usize = 12;
/// The weights of the outputs of a run's last steps, the latest first, by how many there are: Adams-Bashforth.
const WEIGHTS: [&[f32]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// diffusers' `PNDMScheduler`.
pub(super) struct Pndm {
    timesteps: Vec<f64>,
    steps: Vec<Step>,
    /// The timesteps of the Runge-Kutta calls; empty without.
    prk_timesteps: Vec<f64>,
    alphas_cumprod: Vec<f32>,
    final_alpha_cumprod: f32,
    stride: f64,
    prediction_type: PredictionType,
    place: Place,
    /// Of the run's last steps, the latest first.
    outputs: VecDeque<Tensor>,
    /// The weighted outputs of a Runge-Kutta interval so far.
    sum: Option<Tensor>,
    /// Where the interval starts that takes several calls.
    start: Option<Tensor>,
}

struct Step {
    alpha_prod_sqrt: f32,
    beta_prod_sqrt: f32,
}

/// One transition: from a sample at one timestep, along a derivative, to another timestep.
struct Move {
    from: f64,
    to: f64,
    sample: Tensor,
    output: Tensor,
}

impl Pndm {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let spaced = run.whole_timesteps()?;
        let (prk_timesteps, multistep) = if run.config.skip_prk_steps {
            let twice = spaced.get(1).copied().into_iter();
            (Vec::new(), spaced.iter().take(2).copied().chain(twice).chain(spaced.iter().skip(2).copied()).collect())
        } else {
            let prk = prk_timesteps(run, &spaced)?;
            (prk, spaced.iter().skip(PRK_CALLS / 4).copied().collect::<Vec<_>>())
        };
        let timesteps: Vec<f64> = prk_timesteps.iter().copied().chain(multistep).collect();
        let step = |&timestep: &f64| {
            let alpha = run.starting_alpha(timestep)?;
            Ok(Step { alpha_prod_sqrt: alpha.sqrt(), beta_prod_sqrt: (1.0 - alpha).sqrt() })
        };
        Ok(Self {
            steps: timesteps.iter().map(step).collect::<Result<_>>()?,
            timesteps,
            prk_timesteps,
            final_alpha_cumprod: run.final_alpha_cumprod(),
            alphas_cumprod: run.alphas_cumprod.clone(),
            stride: run.stride(),
            prediction_type: run.config.prediction_type,
            place: Place::default(),
            outputs: VecDeque::new(),
            sum: None,
            start: None,
        })
    }

    /// `step_prk`, for the call after `taken` others.
    fn runge_kutta(&mut self, taken: usize, from: f64, timestep: f64, sample: Tensor, output: Tensor) -> Result<Move> {
        let half = (self.stride / 2.0).floor();
        let to = if taken % 2 == 1 { timestep } else { timestep - half };
        let weight = if matches!(taken % 4, 0 | 3) { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let sum = match self.sum.take() {
            Some(sum) => combine(1.0, &sum, weight, &output)?,
            None => (&output * f64::from(weight))?,
        };
        if taken.is_multiple_of(4) {
            self.outputs.push_front(output.clone());
            self.start = Some(sample.clone());
        }
        let sample = self.start.clone().unwrap_or(sample);
        if taken % 4 == 3 {
            return Ok(Move { from, to, sample, output: sum });
        }
        self.sum = Some(sum);
        Ok(Move { from, to, sample, output })
    }

    /// `step_plms`, for the call after `taken` others.
    fn multistep(&mut self, taken: usize, timestep: f64, sample: Tensor, output: Tensor) -> Result<Move> {
        if taken == 1 {
            let before = self.outputs.front().unwrap_or(&output);
            let output = combine(0.5, &output, 0.5, before)?;
            let sample = self.start.take().unwrap_or(sample);
            return Ok(Move { from: timestep + self.stride, to: timestep, sample, output });
        }
        if taken == 0 {
            self.start = Some(sample.clone());
        }
        self.outputs.push_front(output);
        self.outputs.truncate(WEIGHTS.len());
        let weights = WEIGHTS.get(self.outputs.len() - 1).copied().unwrap_or_default();
        let mut output = sample.zeros_like()?;
        for (weight, before) in weights.iter().zip(&self.outputs) {
            output = combine(1.0, &output, *weight, before)?;
        }
        Ok(Move { from: timestep, to: timestep - self.stride, sample, output })
    }

    /// `_get_prev_sample`: formula 9.
    fn transfer(&self, step: Move) -> Result<Tensor> {
        let alpha = self.alphas_cumprod.get(step.from as usize).copied();
        let alpha = alpha.ok_or_else(|| {
            Error::Inference(format!("scheduler: pndm steps from timestep {}, past those of training", step.from))
        })?;
        let previous = if step.to >= 0.0 { self.alphas_cumprod.get(step.to as usize).copied() } else { None };
        let previous = previous.unwrap_or(self.final_alpha_cumprod);
        let (beta, beta_previous) = (1.0 - alpha, 1.0 - previous);
        let output = match self.prediction_type {
            PredictionType::VPrediction => combine(alpha.sqrt(), &step.output, beta.sqrt(), &step.sample)?,
            _ => step.output,
        };
        let denominator = alpha * beta_previous.sqrt() + (alpha * beta * previous).sqrt();
        combine((previous / alpha).sqrt(), &step.sample, -(previous - alpha) / denominator, &output)
    }
}

/// The timesteps of the Runge-Kutta calls, over the first three intervals of the run.
fn prk_timesteps(run: &Run<'_>, spaced: &[f64]) -> Result<Vec<f64>> {
    let [first, second, third, fourth, ..] = spaced else {
        let allowed = "4 or more with pndm, whose Runge-Kutta steps take three intervals (skip_prk_steps is false)";
        return Err(Error::invalid("num_inference_steps", run.steps, allowed));
    };
    let half = (run.stride() / 2.0).floor();
    let interval = |from: &f64, to: &f64| [*from, to + half, to + half, *to];
    Ok([interval(first, second), interval(second, third), interval(third, fourth)].concat())
}

impl Scheduler for Pndm {
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
        _: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let timestep = *at(&self.timesteps, index)?;
        let (output, sample_f32) = to_f32(model_output, sample)?;
        let (alpha, beta) = self.shares(index)?;
        let original = self.prediction_type.original(alpha, beta, &output, &sample_f32)?;
        let taken = self.place.enter(index);
        if taken == 0 {
            self.outputs.clear();
            (self.sum, self.start) = (None, None);
        }
        // diffusers counts from where a run begins, also in the middle, where the calls fall on timesteps that are not
        // meant for them; its pictures are the measure.
        let next = match self.prk_timesteps.get(taken / 4 * 4) {
            Some(&from) => self.runge_kutta(taken, from, timestep, sample_f32, output)?,
            None => self.multistep(taken, timestep, sample_f32, output)?,
        };
        StepOutput::new(&self.transfer(next)?, &original, sample.dtype())
    }
}
