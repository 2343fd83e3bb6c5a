//! DPM-Solver++ 2M: Lu et al. (2022), "DPM-Solver++", algorithm 2, with its first-order update where diffusers uses it.

use candle_core::Tensor;

use super::sigmas::{TrainSigmas, finish, karras, last_sigma};
use super::spacing::{leading, linspace, trailing};
use super::{BetaSchedule, FinalSigmasType, NoiseSource, PredictionType, Run, Scheduler, SolverType, StepOutput};
use super::{TimestepSpacing, at, combine, divide, to_f32};
use crate::error::{Error, Result};

/// Runs shorter than this end with a first-order step where `lower_order_final` is set.
const FEW_STEPS: usize = 15;

/// diffusers' `DPMSolverMultistepScheduler` with `algorithm_type="dpmsolver++"`.
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
    /// Of the sample, `sigma_t / sigma_s0`.
    keep: f32,
    /// Of this step's prediction, `-alpha_t * (exp(-h) - 1)`.
    pull: f32,
    /// Of the prediction's change since the step before; `None` in steps of first order.
    change: Option<f32>,
}

/// A noise level as `_sigma_to_alpha_sigma_t` splits it, with its log signal-to-noise ratio.
struct Level {
    alpha: f32,
    sigma: f32,
    lambda: f32,
}

impl Level {
    fn new(sigma: f64) -> Self {
        let sigma = sigma as f32;
        let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
        let sigma = sigma * alpha;
        Self { alpha, sigma, lambda: alpha.ln() - sigma.ln() }
    }
}

impl Step {
    fn new(before: Option<&Level>, from: &Level, to: &Level, solver: SolverType) -> Self {
        let h = to.lambda - from.lambda;
        let decay = (-h).exp() - 1.0;
        let pull = -(to.alpha * decay);
        let slope = match solver {
            SolverType::Midpoint => 0.5 * pull,
            SolverType::Heun => to.alpha * (decay / h + 1.0),
        };
        let ratio = before.map(|before| (from.lambda - before.lambda) / h);
        // A step that repeats a noise level changes nothing, and the one after it has nothing to extrapolate from.
        let change = ratio.map(|ratio| 1.0 / ratio * slope).filter(|change| change.is_finite());
        Self { alpha: from.alpha, sigma: from.sigma, keep: to.sigma / from.sigma, pull, change }
    }
}

impl DpmSolverMultistep {
    pub(super) fn new(run: &Run) -> Result<Self> {
        let config = &run.config;
        let train = TrainSigmas::new(&run.alphas_cumprod);
        let mut timesteps = spaced(run)?;
        let sigmas = if config.use_karras_sigmas {
            let sigmas = karras(config, train.last(), train.first(), run.steps);
            timesteps = train.timesteps_of(&sigmas);
            let cosine = config.betas.schedule == BetaSchedule::SquaredcosCapV2;
            timesteps.iter_mut().for_each(|t| *t = if cosine { t.trunc() } else { t.round_ties_even() });
            sigmas
        } else {
            train.at(&timesteps)
        };
        let sigmas = finish(sigmas, last_sigma(config, &train))?;
        let levels: Vec<_> = sigmas.iter().map(|&sigma| Level::new(sigma)).collect();
        let count = timesteps.len();
        let few = config.lower_order_final && count < FEW_STEPS;
        let first_order_end = config.euler_at_final || few || config.final_sigmas_type == FinalSigmasType::Zero;
        let step = |(index, pair): (usize, &[Level])| {
            let first_order = config.solver_order == 1 || (index + 1 == count && first_order_end);
            let before = index.checked_sub(1).filter(|_| !first_order).and_then(|index| levels.get(index));
            Step::new(before, &pair[0], &pair[1], config.solver_type)
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

/// The timesteps by spacing; this class leaves out one end where the others do not.
fn spaced(run: &Run) -> Result<Vec<f64>> {
    // Where the log signal-to-noise ratio is too low, the training schedule counts as shorter.
    let lambda = |alpha: f32| alpha.sqrt().ln() - (1.0 - alpha).sqrt().ln();
    let least = run.config.lambda_min_clipped as f32;
    let train = run.alphas_cumprod.partition_point(|&alpha| lambda(alpha) >= least);
    if train == 0 {
        return Err(Error::Checkpoint(format!(
            "scheduler_config.json: lambda_min_clipped is {least}, which leaves no timestep"
        )));
    }
    let points = run.steps + 1;
    Ok(match run.spacing {
        TimestepSpacing::Leading if train < points => {
            return Err(Error::invalid(
                "num_inference_steps",
                run.steps,
                format!("1 to {} with leading spacing", train - 1),
            ));
        }
        TimestepSpacing::Leading => {
            let mut timesteps = leading(points, train / points, run.config.steps_offset);
            timesteps.pop();
            timesteps
        }
        TimestepSpacing::Trailing => trailing(train, run.train_timesteps() as f64 / run.steps as f64),
        TimestepSpacing::Linspace => {
            let timesteps = linspace((train - 1) as f64, points);
            timesteps.into_iter().skip(1).rev().map(f64::round_ties_even).collect()
        }
    })
}

impl Scheduler for DpmSolverMultistep {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn sigmas(&self) -> &[f64] {
        &self.sigmas
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
        _: &mut NoiseSource<'_>,
    ) -> Result<StepOutput> {
        let step = at(&self.steps, index)?;
        let dtype = sample.dtype();
        let (output, sample) = to_f32(model_output, sample)?;
        let original = match self.prediction_type {
            PredictionType::Epsilon => divide(&combine(1.0, &sample, -step.sigma, &output)?, step.alpha)?,
            PredictionType::Sample => output,
            PredictionType::VPrediction => combine(step.alpha, &sample, -step.sigma, &output)?,
        };
        let mut next = combine(step.keep, &sample, step.pull, &original)?;
        let before = self.previous.replace((index, original.clone())).filter(|(before, _)| before + 1 == index);
        if let Some((change, (_, before))) = step.change.zip(before) {
            next = combine(1.0, &next, change, &(&original - before)?)?;
        }
        StepOutput::new(&next, &original, dtype)
    }
}
