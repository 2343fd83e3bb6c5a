//! Schedulers: the timesteps of a run and the step from one sample to the next, after diffusers' classes.
//!
//! Everything about timesteps and noise levels is computed once, on the host, in the precision that diffusers
//! computes it in: tables in f32 as torch keeps them, interpolation in f64 as numpy does. Samples are computed in f32
//! whatever their dtype.

mod beta_distribution;
mod betas;
mod choices;
mod config;
mod ddim;
mod ddpm;
mod distillation;
mod dpm_solver_multistep;
mod euler;
mod euler_ancestral;
mod fields;
mod heun;
mod kind;
mod lcm;
mod levels;
mod lms;
mod options;
mod place;
mod pndm;
mod run;
mod samples;
mod sigmas;
mod spacing;
mod tcd;
mod unipc;
mod unsupported;

use candle_core::{DType, Shape, Tensor};

pub use self::betas::{BetaSchedule, Betas};
pub use self::choices::{
    AlgorithmType, FinalSigmasType, InterpolationType, PredictionType, SolverType, TimestepType, VarianceType,
};
pub use self::config::SchedulerConfig;
pub use self::kind::SchedulerKind;
pub use self::options::SchedulerOptions;
use self::run::Run;
use self::samples::{at, noised};
pub use self::spacing::TimestepSpacing;
use crate::error::Result;

/// Standard normal noise of a shape, f32, on the sample's device, drawn from the image's own generator.
pub type NoiseSource<'a> = dyn FnMut(&Shape) -> Result<Tensor> + 'a;

/// A run of one sampling algorithm. Each step is one call of the network, so that a run has as many as there are
/// timesteps: with heun two less one for each step asked for, with pndm one more, or nine more with Runge-Kutta steps.
///
/// A run may begin at any index that is a multiple of [`Scheduler::order`], with a sample of
/// [`Scheduler::add_noise`] for that index, and goes on from there to the last; what it remembers begins there too, as
/// in diffusers after `set_begin_index`. A step that does not follow on the one before it begins a new run.
pub trait Scheduler: Send {
    /// The timestep of each step as the network takes it; with sigmas of their own it may be fractional.
    fn timesteps(&self) -> &[f64];
    /// The noise level before each step and after the last one: one more than there are steps. Empty for ddim, ddpm,
    /// pndm, lcm and tcd.
    fn sigmas(&self) -> &[f64] {
        &[]
    }
    /// How many steps belong together: 2 with heun, else 1.
    fn order(&self) -> usize {
        1
    }
    /// What standard normal noise is multiplied by to become the first sample.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }
    /// The sample as the network takes it at step `index`.
    ///
    /// # Errors
    /// [`Error::Inference`](crate::Error::Inference) for an `index` past the last step.
    fn scale_model_input(&self, sample: &Tensor, index: usize) -> Result<Tensor> {
        at(self.timesteps(), index)?;
        Ok(sample.clone())
    }
    /// How much of the clean sample and of unit noise the sample before step `index` is made of.
    ///
    /// # Errors
    /// [`Error::Inference`](crate::Error::Inference) for an `index` past the last step.
    fn shares(&self, index: usize) -> Result<(f32, f32)>;
    /// The clean sample `original` under as much of the standard normal `noise` as there is before step `index`;
    /// the result has the shape and dtype of `original`.
    ///
    /// # Errors
    /// [`Error::Inference`](crate::Error::Inference) for an `index` past the last step or shapes that differ.
    fn add_noise(&self, original: &Tensor, noise: &Tensor, index: usize) -> Result<Tensor> {
        let (signal, share) = self.shares(index)?;
        noised(signal, original, share, noise)
    }
    /// Takes step `index` from `sample`, with the network's output for it; results have the shape and dtype of `sample`.
    ///
    /// Noise is drawn as often and in the same order as diffusers draws it: euler-ancestral and dpm++-2m-sde once in
    /// every step, the last one included; ddpm in every step but one from timestep 0; ddim where eta is above 0; lcm in
    /// every step but the last, tcd too where eta is above 0; the others never.
    ///
    /// # Errors
    /// [`Error::Inference`](crate::Error::Inference) for an `index` past the last step, shapes that differ, and a run
    /// that begins in the middle of steps that belong together; whatever `noise` returns.
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

/// Prepares a run of `num_inference_steps` steps.
///
/// With leading and trailing spacing the run can come out shorter or longer in the corner cases in which diffusers'
/// does; [`Scheduler::timesteps`] tells.
///
/// # Errors
/// [`Error::InvalidParams`](crate::Error::InvalidParams) for a number of steps outside 1 to the training timesteps
/// (with lcm and tcd to those of the distillation), or one for which the spacing has no timesteps, an eta outside 0 to
/// 1, options that `kind` does not have; [`Error::Checkpoint`](crate::Error::Checkpoint) for a configuration that
/// `kind` cannot obey.
pub fn create(
    kind: SchedulerKind,
    config: &SchedulerConfig,
    num_inference_steps: usize,
    options: &SchedulerOptions,
) -> Result<Box<dyn Scheduler>> {
    let run = Run::new(kind, config, num_inference_steps, options)?;
    Ok(match kind {
        SchedulerKind::Ddim => Box::new(ddim::Ddim::new(&run)?),
        SchedulerKind::Ddpm => Box::new(ddpm::Ddpm::new(&run)?),
        SchedulerKind::Euler => Box::new(euler::Euler::new(&run)?),
        SchedulerKind::EulerAncestral => Box::new(euler_ancestral::EulerAncestral::new(&run)?),
        SchedulerKind::Heun => Box::new(heun::Heun::new(&run)?),
        SchedulerKind::Lms => Box::new(lms::Lms::new(&run)?),
        SchedulerKind::Pndm => Box::new(pndm::Pndm::new(&run)?),
        SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mSde => {
            Box::new(dpm_solver_multistep::DpmSolverMultistep::new(&run)?)
        }
        SchedulerKind::Unipc => Box::new(unipc::UniPc::new(&run)?),
        SchedulerKind::Lcm => Box::new(lcm::Lcm::new(&run)?),
        SchedulerKind::Tcd => Box::new(tcd::Tcd::new(&run)?),
    })
}
