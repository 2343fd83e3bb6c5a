//! Schedulers: the timesteps of a run and the step from one sample to the next, after diffusers' classes.
//!
//! Everything about timesteps and noise levels is computed once, on the host, in the precision that diffusers
//! computes it in: tables in f32 as torch keeps them, interpolation in f64 as numpy does. Samples are computed in f32
//! whatever their dtype.

mod betas;
mod config;
mod ddim;
mod dpm_solver_multistep;
mod euler;
mod euler_ancestral;
mod fields;
mod sigmas;
mod spacing;
mod unsupported;

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Shape, Tensor};

pub use self::betas::{BetaSchedule, Betas};
pub use self::config::{FinalSigmasType, InterpolationType, PredictionType, SchedulerConfig, SolverType, TimestepType};
pub use self::spacing::TimestepSpacing;
use crate::error::{Error, Result};

/// Standard normal noise of a shape, f32, on the sample's device, drawn from the image's own generator.
pub type NoiseSource<'a> = dyn FnMut(&Shape) -> Result<Tensor> + 'a;

/// A run of one sampling algorithm over a fixed number of steps.
pub trait Scheduler: Send {
    /// The timestep of each step as the network takes it, falling; with Karras sigmas it may be fractional.
    fn timesteps(&self) -> &[f64];
    /// The noise level before each step and after the last one: one more than there are steps. Empty for ddim.
    fn sigmas(&self) -> &[f64];
    /// What standard normal noise is multiplied by to become the first sample.
    fn init_noise_sigma(&self) -> f64;
    /// The sample as the network takes it at step `index`.
    ///
    /// # Errors
    /// [`Error::Inference`] for an `index` past the last step.
    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor>;
    /// Takes step `index` from `sample`, with the network's output for it; results have the shape and dtype of `sample`.
    ///
    /// Noise is drawn as often and in the same order as diffusers draws it: euler-ancestral once in every step, the
    /// last one included, ddim once in every step where eta is above 0, the others never.
    ///
    /// # Errors
    /// [`Error::Inference`] for an `index` past the last step or shapes that differ; whatever `noise` returns.
    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        noise: &mut NoiseSource<'_>,
    ) -> Result<StepOutput>;
}

/// What a step gives, named as in diffusers' `DDIMSchedulerOutput`.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// The sample at the next noise level.
    pub prev_sample: Tensor,
    /// The clean sample that this step foresees; good for previews.
    pub pred_original_sample: Tensor,
}

impl StepOutput {
    fn new(prev_sample: &Tensor, pred_original_sample: &Tensor, dtype: DType) -> Result<Self> {
        Ok(Self {
            prev_sample: prev_sample.to_dtype(dtype)?,
            pred_original_sample: pred_original_sample.to_dtype(dtype)?,
        })
    }
}

/// A sampling algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Song et al. (2020), diffusers' `DDIMScheduler`.
    Ddim,
    /// Euler's method of Karras et al. (2022) without churn, diffusers' `EulerDiscreteScheduler`.
    Euler,
    /// Euler's method with ancestral noise, diffusers' `EulerAncestralDiscreteScheduler`.
    EulerAncestral,
    /// DPM-Solver++ of Lu et al. (2022), multistep, of second order: diffusers' `DPMSolverMultistepScheduler`.
    Dpmpp2m,
}

impl SchedulerKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Ddim, Self::Euler, Self::EulerAncestral, Self::Dpmpp2m];

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-ancestral",
            Self::Dpmpp2m => "dpm++-2m",
        }
    }
}

impl SchedulerKind {
    /// Whether it can take the noise levels of Karras et al. (2022).
    const fn has_karras_sigmas(self) -> bool {
        matches!(self, Self::Euler | Self::Dpmpp2m)
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchedulerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| Error::invalid("scheduler", name, Self::ALL.map(Self::name).join(", ")))
    }
}

/// What a caller may ask of a scheduler beyond its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SchedulerOptions {
    /// ddim: the share of fresh noise in every step, 0 to 1. Other kinds take only 0.
    pub eta: f64,
    /// Replaces the configuration's spacing.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// euler and dpm++-2m: replaces the configuration's choice. Other kinds take no `true`.
    pub use_karras_sigmas: Option<bool>,
}

impl SchedulerOptions {
    /// The options with what is left open filled in, by the configuration or else by what `kind`'s class defaults to.
    #[must_use]
    pub fn resolved(self, kind: SchedulerKind, config: &SchedulerConfig) -> Self {
        let default = if kind == SchedulerKind::Ddim { TimestepSpacing::Leading } else { TimestepSpacing::Linspace };
        let karras = kind.has_karras_sigmas() && config.use_karras_sigmas;
        Self {
            eta: self.eta,
            timestep_spacing: Some(self.timestep_spacing.or(config.timestep_spacing).unwrap_or(default)),
            use_karras_sigmas: Some(self.use_karras_sigmas.unwrap_or(karras)),
        }
    }
}

/// Prepares a run of `num_inference_steps` steps.
///
/// With leading and trailing spacing the run can come out shorter or longer in the corner cases in which diffusers'
/// does; [`Scheduler::timesteps`] tells.
///
/// # Errors
/// [`Error::InvalidParams`] for a number of steps outside 1 to the training timesteps, or one for which the spacing
/// has no timesteps, an eta outside 0 to 1, options that `kind` does not have; [`Error::Checkpoint`] for a
/// configuration that `kind` cannot obey.
pub fn create(
    kind: SchedulerKind,
    config: &SchedulerConfig,
    num_inference_steps: usize,
    options: &SchedulerOptions,
) -> Result<Box<dyn Scheduler>> {
    let most = config.betas.count;
    if num_inference_steps == 0 || num_inference_steps > most {
        return Err(Error::invalid("num_inference_steps", num_inference_steps, format!("1 to {most}")));
    }
    if !(0.0..=1.0).contains(&options.eta) {
        return Err(Error::invalid("eta", options.eta, "0 to 1"));
    }
    if options.eta != 0.0 && kind != SchedulerKind::Ddim {
        return Err(Error::invalid("eta", options.eta, format!("0 with {kind}: only ddim has an eta")));
    }
    if options.use_karras_sigmas == Some(true) && !kind.has_karras_sigmas() {
        return Err(Error::invalid(
            "use_karras_sigmas",
            true,
            format!("false with {kind}: euler and dpm++-2m have it"),
        ));
    }
    config.check_supported(kind)?;
    let options = options.resolved(kind, config);
    let run = Run {
        config: SchedulerConfig { use_karras_sigmas: options.use_karras_sigmas == Some(true), ..config.clone() },
        spacing: options.timestep_spacing.unwrap_or(TimestepSpacing::Leading),
        steps: num_inference_steps,
        alphas_cumprod: config.betas.alphas_cumprod()?,
    };
    Ok(match kind {
        SchedulerKind::Ddim => Box::new(ddim::Ddim::new(&run, options.eta)?),
        SchedulerKind::Euler => Box::new(euler::Euler::new(&run)?),
        SchedulerKind::EulerAncestral => Box::new(euler_ancestral::EulerAncestral::new(&run)?),
        SchedulerKind::Dpmpp2m => Box::new(dpm_solver_multistep::DpmSolverMultistep::new(&run)?),
    })
}

/// What every kind starts from, checked.
struct Run {
    config: SchedulerConfig,
    spacing: TimestepSpacing,
    steps: usize,
    alphas_cumprod: Vec<f32>,
}

impl Run {
    fn train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// The timesteps of ddim and of the euler kinds, before any rounding.
    fn timesteps(&self) -> Vec<f64> {
        let train = self.train_timesteps();
        match self.spacing {
            TimestepSpacing::Leading => spacing::leading(self.steps, train / self.steps, self.config.steps_offset),
            TimestepSpacing::Trailing => spacing::trailing(train, train as f64 / self.steps as f64),
            TimestepSpacing::Linspace => {
                let mut timesteps = spacing::linspace((train - 1) as f64, self.steps);
                timesteps.reverse();
                timesteps
            }
        }
    }
}

/// The precomputed values of step `index`.
fn at<T>(steps: &[T], index: usize) -> Result<&T> {
    steps.get(index).ok_or_else(|| Error::Inference(format!("scheduler: step {index} of a run of {}", steps.len())))
}

/// The network's output and the sample in f32.
fn to_f32(model_output: &Tensor, sample: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((model_output.to_dtype(DType::F32)?, sample.to_dtype(DType::F32)?))
}

/// `x / y` element by element. candle divides by a number by multiplying with its reciprocal, whose rounding steps
/// from large sigmas would blow up.
fn divide(x: &Tensor, y: f32) -> Result<Tensor> {
    Ok(x.broadcast_div(&Tensor::new(y, x.device())?)?)
}

/// `a * x + b * y`.
fn combine(a: f32, x: &Tensor, b: f32, y: &Tensor) -> Result<Tensor> {
    Ok(((x * f64::from(a))? + (y * f64::from(b))?)?)
}
