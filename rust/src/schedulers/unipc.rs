//! Unified predictor-corrector: Zhao et al. (2023), algorithms 1 (UniC) and 2 (UniP) on the prediction of the clean sample.

use std::collections::VecDeque;

use candle_core::Tensor;

use super::levels::{Level, timesteps_and_sigmas};
use super::place::Place;
use super::samples::{at, combine, to_f32};
use super::sigmas::{SigmaSchedule, TrainSigmas, finish, last_sigma};
use super::{FinalSigmasType, NoiseSource, PredictionType, Run, Scheduler, SolverType, StepOutput};
use crate::error::Result;

/// diffusers' `UniPCMultistepScheduler` with `predict_x0=True`.
pub(super) struct UniPc {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    /// One more than timesteps.
    levels: Vec<Level>,
    prediction_type: PredictionType,
    bh1: bool,
    solver_order: usize,
    lower_order_final: bool,
    disable_corrector: Vec<usize>,
    place: Place,
    /// Of the run's last steps, the latest first.
    originals: VecDeque<Tensor>,
    last: Option<Last>,
}

/// What the corrector needs of the step before.
struct Last {
    sample: Tensor,
    order: usize,
}

impl UniPc {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let config = run.config;
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let round = |schedule, timestep: f64| {
            if schedule == SigmaSchedule::Karras { timestep.round_ties_even() } else { timestep.trunc() }
        };
        let (timesteps, sigmas) = timesteps_and_sigmas(run, &train, run.train_timesteps(), round)?;
        let last = match (config.final_sigmas_type, run.sigma_schedule, sigmas.last()) {
            (_, SigmaSchedule::Training, _) | (FinalSigmasType::Zero, ..) => last_sigma(config, &train),
            (FinalSigmasType::SigmaMin, _, last) => last.copied().unwrap_or(0.0),
        };
        let sigmas = finish(sigmas, last)?;
        Ok(Self {
            levels: sigmas.iter().map(|&sigma| Level::new(sigma)).collect(),
            timesteps,
            sigmas,
            prediction_type: config.prediction_type,
            bh1: config.solver_type == Some(SolverType::Bh1),
            solver_order: config.solver_order,
            lower_order_final: config.lower_order_final,
            disable_corrector: config.disable_corrector.clone(),
            place: Place::default(),
            originals: VecDeque::new(),
            last: None,
        })
    }

    /// The update of `order` from level `from` to the next one: UniP, or with the prediction that was made `at_end` UniC.
    fn update(&self, from: usize, order: usize, sample: &Tensor, at_end: Option<&Tensor>) -> Result<Tensor> {
        let (level, next) = (at(&self.levels, from)?, at(&self.levels, from + 1)?);
        let Some(newest) = self.originals.front() else { return Ok(sample.clone()) };
        let h = next.lambda - level.lambda;
        let first = (-h).exp_m1();
        let mut moved = combine((next.sigma / level.sigma) as f32, sample, -(next.alpha * first) as f32, newest)?;
        // Between equal levels nothing changes, and a step to no noise at all has nothing to extrapolate to.
        if h == 0.0 || !h.is_finite() {
            return Ok(moved);
        }
        let mut ratios = Vec::new();
        let mut changes = Vec::new();
        for back in 1..order {
            let ratio = from.checked_sub(back).map(|before| (self.levels[before].lambda - level.lambda) / h);
            let (Some(ratio), Some(before)) = (ratio.filter(|ratio| *ratio != 0.0), self.originals.get(back)) else {
                break;
            };
            changes.push(((before - newest)? * (1.0 / ratio))?);
            ratios.push(ratio);
        }
        if let Some(at_end) = at_end {
            changes.push((at_end - newest)?);
            ratios.push(1.0);
        }
        let b_h = if self.bh1 { -h } else { first };
        for (weight, change) in weights(&ratios, -h, b_h).into_iter().zip(&changes) {
            moved = combine(1.0, &moved, -(next.alpha * b_h * weight) as f32, change)?;
        }
        Ok(moved)
    }
}

/// The weights of the changes at `ratios` of the step: the solution of the conditions of order, theorem 3.1,
/// and a half for a single change, as diffusers has it.
fn weights(ratios: &[f64], h: f64, b_h: f64) -> Vec<f64> {
    if ratios.len() == 1 {
        return vec![0.5];
    }
    let mut phi = h.exp_m1() / h - 1.0;
    let mut factorial = 1.0;
    let rows = ratios.iter().enumerate().map(|(power, _)| {
        let mut row: Vec<f64> = ratios.iter().map(|ratio| ratio.powi(power as i32)).collect();
        row.push(phi * factorial / b_h);
        factorial *= (power + 2) as f64;
        phi = phi / h - 1.0 / factorial;
        row
    });
    solve(rows.collect())
}

/// Solves linear equations, each a row of coefficients and the right side, by elimination with row pivots.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let size = rows.len();
    for column in 0..size {
        let by_magnitude = |a: &usize, b: &usize| rows[*a][column].abs().total_cmp(&rows[*b][column].abs());
        let pivot = (column..size).max_by(by_magnitude).unwrap_or(column);
        rows.swap(column, pivot);
        let pivot = rows[column].clone();
        for row in &mut rows[column + 1..] {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut solution = vec![0.0; size];
    for column in (0..size).rev() {
        let known: f64 = (column + 1..size).map(|other| rows[column][other] * solution[other]).sum();
        solution[column] = (rows[column][size] - known) / rows[column][column];
    }
    solution
}

impl Scheduler for UniPc {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    fn shares(&self, index: usize) -> Result<(f32, f32)> {
        at(&self.timesteps, index)?;
        let level = at(&self.levels, index)?;
        Ok((level.alpha as f32, level.sigma as f32))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        _: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let (alpha, sigma) = self.shares(index)?;
        let (output, mut sample_f32) = to_f32(model_output, sample)?;
        let original = self.prediction_type.original(alpha, sigma, &output, &sample_f32)?;
        let taken = self.place.enter(index);
        if taken == 0 {
            self.originals.clear();
            self.last = None;
        }
        if let (Some(last), Some(before)) = (self.last.take(), index.checked_sub(1))
            && !self.disable_corrector.contains(&before)
        {
            sample_f32 = self.update(before, last.order, &last.sample, Some(&original))?;
        }
        self.originals.push_front(original.clone());
        self.originals.truncate(self.solver_order);
        let left = self.timesteps.len() - index;
        let most = if self.lower_order_final { self.solver_order.min(left) } else { self.solver_order };
        let order = most.min(taken + 1);
        let next = self.update(index, order, &sample_f32, None)?;
        self.last = Some(Last { sample: sample_f32, order });
        StepOutput::new(&next, &original, sample.dtype())
    }
}
