//! DPM-Solver++ 2M: Lu et al. (2022), "DPM-Solver++", algorithm 2, with its first-order update where diffusers uses it;
//! and SDE-DPM-Solver++ 2M of the same paper, for the diffusion SDE.

use candle_core::Tensor;

use super::StepOutput;
use super::levels::{Level, timesteps_and_sigmas};
use super::samples::{at, combine, to_f32};
use super::sigmas::{SigmaSchedule, TrainSigmas, finish, last_sigma};
use super::{BetaSchedule, FinalSigmasType, NoiseSource, PredictionType, Run, Scheduler, SchedulerKind, SolverType};
use crate::error::{Error, Result};

/// Runs shorter than this end with a first-order step where `lower_order_final` is set.
const FEW_STEPS: usize = 15;

/// diffusers' `DPMSolverMultistepScheduler` with `algorithm_type="dpmsolver++"` or `"sde-dpmsolver++"`.
pub(super) struct DpmSolverMultistep {
    timesteps: Vec<f64>,
    sigmas: Vec<f64>,
    steps: Vec<Step>,
    prediction_type: PredictionType,
    /// The step that was taken last and its prediction of the clean sample.
    previous: Option<(usize, Tensor)>,
}

/// The coefficients of one step, on a signal and noise of unit variance together.
struct Step {
    alpha: f32,
    sigma: f32,
    /// Of the sample.
    keep: f32,
    /// Of this step's prediction.
    pull: f32,
    /// Of the prediction's change since the step before; `None` in steps of first order.
    change: Option<f32>,
    /// Of fresh noise; `None` where none is drawn.
    noise: Option<f32>,
}

impl Step {
    fn new(before: Option<&Level>, from: &Level, to: &Level, heun: bool, sde: bool) -> Self {
        let h = to.lambda - from.lambda;
        let (keep, exponent) = (to.sigma / from.sigma, if sde { -2.0 * h } else { -h });
        let decay = exponent.exp_m1();
        let pull = -(to.alpha * decay);
        let slope = if heun { to.alpha * (decay / -exponent + 1.0) } else { 0.5 * pull };
        let ratio = before.map(|before| (from.lambda - before.lambda) / h);
        Self {
            alpha: from.alpha as f32,
            sigma: from.sigma as f32,
            keep: if sde { keep * (-h).exp() } else { keep } as f32,
            pull: pull as f32,
            // A step that repeats a noise level changes nothing, and the one after it has nothing to extrapolate from.
            change: ratio.map(|ratio| (slope / ratio) as f32).filter(|change| change.is_finite()),
            noise: sde.then(|| (to.sigma * (-decay).max(0.0).sqrt()) as f32),
        }
    }
}

impl DpmSolverMultistep {
    pub(super) fn new(run: &Run<'_>) -> Result<Self> {
        let config = run.config;
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let cosine = config.betas.schedule == Some(BetaSchedule::SquaredcosCapV2);
        let round = |schedule, timestep: f64| {
            if schedule == SigmaSchedule::Karras && !cosine { timestep.round_ties_even() } else { timestep.trunc() }
        };
        let (timesteps, sigmas) = timesteps_and_sigmas(run, &train, visited(run)?, round)?;
        let sigmas = finish(sigmas, last_sigma(config, &train))?;
        let levels: Vec<_> = sigmas.iter().map(|&sigma| Level::new(sigma)).collect();
        let count = timesteps.len();
        let few = config.lower_order_final && count < FEW_STEPS;
        let first_order_end = config.euler_at_final || few || config.final_sigmas_type == FinalSigmasType::Zero;
        let (heun, sde) = (config.solver_type == Some(SolverType::Heun), run.kind == SchedulerKind::Dpmpp2mSde);
        let step = |(index, pair): (usize, &[Level])| {
            let first_order = config.solver_order == 1 || (index + 1 == count && first_order_end);
            let before = index.checked_sub(1).filter(|_| !first_order).and_then(|index| levels.get(index));
            Step::new(before, &pair[0], &pair[1], heun, sde)
        };
        Ok(Self {
            steps: levels.windows(2).enumerate().map(step).collect(),
            prediction_type: config.prediction_type,
            previous: None,
            timesteps,
            sigmas,
        })
    }
}

/// How many timesteps of training count: where the log signal-to-noise ratio is too low, the schedule counts as shorter.
fn visited(run: &Run<'_>) -> Result<usize> {
    let lambda = |alpha: f32| alpha.sqrt().ln() - (1.0 - alpha).sqrt().ln();
    let least = run.config.lambda_min_clipped as f32;
    match run.alphas_cumprod.partition_point(|&alpha| lambda(alpha) >= least) {
        0 => Err(Error::Checkpoint(format!(
            "scheduler_config.json: lambda_min_clipped is {least}, which leaves no timestep"
        ))),
        visited => Ok(visited),
    }
}

impl Scheduler for DpmSolverMultistep {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    fn shares(&self, index: usize) -> Result<(f32, f32)> {
        let step = at(&self.steps, index)?;
        Ok((step.alpha, step.sigma))
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
        let original = self.prediction_type.original(step.alpha, step.sigma, &output, &sample)?;
        let mut next = combine(step.keep, &sample, step.pull, &original)?;
        let before = self.previous.replace((index, original.clone())).filter(|(before, _)| before + 1 == index);
        if let Some((change, (_, before))) = step.change.zip(before) {
            next = combine(1.0, &next, change, &(&original - before)?)?;
        }
        if let Some(share) = step.noise {
            next = combine(1.0, &next, share, &noise(next.shape())?)?;
        }
        StepOutput::new(&next, &original, dtype)
    }
}
