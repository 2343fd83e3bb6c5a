//! `scheduler_config.json`, as diffusers' scheduler classes read it.

use serde_json::Value;

use super::betas::{Betas, MAX_TRAIN_TIMESTEPS};
use super::choices::{
    AlgorithmType, FinalSigmasType, InterpolationType, PredictionType, SolverType, TimestepType, VarianceType,
};
use super::fields::{Fields, bad, strict_json};
use super::kind::SchedulerKind;
use super::spacing::TimestepSpacing;
use super::unsupported::{Unsupported, unsupported};
use crate::error::{Error, Result};

/// A scheduler configuration. Written for one class, it serves every [`SchedulerKind`] just as diffusers'
/// `Other.from_config(config)` would: each kind reads the keys that its class has and defaults the rest.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// The class that the file was written for.
    pub class_name: Option<String>,
    /// The noise of every training timestep.
    pub betas: Betas,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Where the timesteps lie; the default differs by kind.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to the timesteps of leading spacing.
    pub steps_offset: u64,
    /// The last step goes to noise-free samples, not to training timestep 0; the default differs by kind.
    pub set_alpha_to_one: Option<bool>,
    /// The predicted clean sample is clamped; the default differs by kind.
    pub clip_sample: Option<bool>,
    /// What it is clamped to, plus and minus.
    pub clip_sample_range: f64,
    /// Betas rescaled so that the last training timestep has no signal: Lin et al. (2023), algorithm 1.
    pub rescale_betas_zero_snr: bool,
    /// Sigmas of Karras et al. (2022), rho 7.
    pub use_karras_sigmas: bool,
    /// Sigmas with evenly spaced logarithms.
    pub use_exponential_sigmas: bool,
    /// Sigmas of Lee et al. (2024), alpha and beta 0.6.
    pub use_beta_sigmas: bool,
    /// The smallest of such sigmas.
    pub sigma_min: Option<f64>,
    /// The largest of them.
    pub sigma_max: Option<f64>,
    /// euler, dpm++, unipc: the sigma after the last step.
    pub final_sigmas_type: FinalSigmasType,
    /// euler: how sigmas are interpolated.
    pub interpolation_type: InterpolationType,
    /// euler: what the network is told as its timestep.
    pub timestep_type: TimestepType,
    /// dpm++: 1 or 2; unipc: 1 to 3.
    pub solver_order: usize,
    /// dpm++, unipc: the update; the default differs by kind.
    pub solver_type: Option<SolverType>,
    /// dpm++: below 15 steps the last one is of first order. unipc: the last steps are of lower order.
    pub lower_order_final: bool,
    /// dpm++: the last step is of first order.
    pub euler_at_final: bool,
    /// dpm++: timesteps whose log signal-to-noise ratio is below this are left out.
    pub lambda_min_clipped: f64,
    /// dpm++: the algorithm that the file was written for.
    pub algorithm_type: AlgorithmType,
    /// unipc: steps after which the sample is not corrected.
    pub disable_corrector: Vec<usize>,
    /// ddpm: the noise that is added.
    pub variance_type: VarianceType,
    /// pndm: no Runge-Kutta steps before the multistep ones.
    pub skip_prk_steps: bool,
    /// lcm, tcd: the steps of the distillation, at least 1.
    pub original_inference_steps: usize,
    /// lcm: what timesteps are multiplied by in the boundary conditions.
    pub timestep_scaling: f64,
    pub(super) unsupported: Vec<Unsupported>,
}

impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`, also with Python's bare `NaN` and `Infinity`, which diffusers
    /// writes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for text that is no JSON, else as [`SchedulerConfig::from_json`].
    pub fn parse(text: &str) -> Result<Self> {
        let value = serde_json::from_str(&strict_json(text))
            .map_err(|error| Error::Checkpoint(format!("scheduler_config.json is no JSON: {error}")))?;
        Self::from_json(&value)
    }

    /// Reads a parsed `scheduler_config.json`. Keys that no supported class has are ignored, as diffusers does.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the key, for values of the wrong type or out of every sensible range.
    /// What is sensible but not supported is told by [`super::create`], for the kinds that would obey it.
    pub fn from_json(value: &Value) -> Result<Self> {
        let fields = Fields::new(value)?;
        let finite = |x: f64| x.is_finite();
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let order = fields.integer("solver_order", 2, 3)?;
        if order == 0 {
            return Err(bad("solver_order", order, "1 to 3"));
        }
        let original_steps = fields.integer("original_inference_steps", 50, MAX_TRAIN_TIMESTEPS)?;
        if original_steps == 0 {
            return Err(bad("original_inference_steps", original_steps, format!("1 to {MAX_TRAIN_TIMESTEPS}")));
        }
        Ok(Self {
            class_name: fields.get("_class_name").and_then(Value::as_str).map(str::to_owned),
            betas: Betas::read(&fields)?,
            prediction_type: fields
                .choice(
                    "prediction_type",
                    &[
                        ("epsilon", PredictionType::Epsilon),
                        ("sample", PredictionType::Sample),
                        ("v_prediction", PredictionType::VPrediction),
                    ],
                )?
                .unwrap_or(PredictionType::Epsilon),
            timestep_spacing: fields.choice("timestep_spacing", TimestepSpacing::NAMES)?,
            steps_offset: fields.integer("steps_offset", 0, MAX_TRAIN_TIMESTEPS)?,
            set_alpha_to_one: fields.optional_bool("set_alpha_to_one")?,
            clip_sample: fields.optional_bool("clip_sample")?,
            clip_sample_range: fields.number("clip_sample_range", positive, "a positive number")?.unwrap_or(1.0),
            rescale_betas_zero_snr: fields.bool("rescale_betas_zero_snr", false)?,
            use_karras_sigmas: fields.bool("use_karras_sigmas", false)?,
            use_exponential_sigmas: fields.bool("use_exponential_sigmas", false)?,
            use_beta_sigmas: fields.bool("use_beta_sigmas", false)?,
            sigma_min: fields.number("sigma_min", positive, "a positive number or null")?,
            sigma_max: fields.number("sigma_max", positive, "a positive number or null")?,
            final_sigmas_type: fields
                .choice(
                    "final_sigmas_type",
                    &[("zero", FinalSigmasType::Zero), ("sigma_min", FinalSigmasType::SigmaMin)],
                )?
                .unwrap_or(FinalSigmasType::Zero),
            interpolation_type: fields
                .choice(
                    "interpolation_type",
                    &[("linear", InterpolationType::Linear), ("log_linear", InterpolationType::LogLinear)],
                )?
                .unwrap_or(InterpolationType::Linear),
            timestep_type: fields
                .choice(
                    "timestep_type",
                    &[("discrete", TimestepType::Discrete), ("continuous", TimestepType::Continuous)],
                )?
                .unwrap_or(TimestepType::Discrete),
            solver_order: order as usize,
            solver_type: fields
                .choice(
                    "solver_type",
                    &[
                        ("midpoint", Some(SolverType::Midpoint)),
                        ("heun", Some(SolverType::Heun)),
                        ("bh1", Some(SolverType::Bh1)),
                        ("bh2", Some(SolverType::Bh2)),
                        // DEIS's own, which the other classes read as their default.
                        ("logrho", None),
                    ],
                )?
                .flatten(),
            lower_order_final: fields.bool("lower_order_final", true)?,
            euler_at_final: fields.bool("euler_at_final", false)?,
            lambda_min_clipped: fields
                .number("lambda_min_clipped", |x| finite(x) || x == f64::NEG_INFINITY, "a number or -Infinity")?
                .unwrap_or(f64::NEG_INFINITY),
            algorithm_type: match fields.get("algorithm_type").and_then(Value::as_str) {
                Some("sde-dpmsolver++") => AlgorithmType::Sde,
                _ => AlgorithmType::Ode,
            },
            disable_corrector: fields.indices("disable_corrector")?,
            variance_type: match fields.get("variance_type").and_then(Value::as_str) {
                Some("fixed_large") => VarianceType::FixedLarge,
                _ => VarianceType::FixedSmall,
            },
            skip_prk_steps: fields.bool("skip_prk_steps", false)?,
            original_inference_steps: original_steps as usize,
            timestep_scaling: fields.number("timestep_scaling", finite, "a number")?.unwrap_or(10.0),
            unsupported: unsupported(&fields)?,
        })
    }

    /// The kind that stands for the configuration's own class; ddim for PNDM, which is there
    /// for those who ask, and for the classes that are not here.
    pub fn default_kind(&self) -> SchedulerKind {
        match self.class_name.as_deref() {
            Some("DDPMScheduler") => SchedulerKind::Ddpm,
            Some("EulerDiscreteScheduler") => SchedulerKind::Euler,
            Some("EulerAncestralDiscreteScheduler") => SchedulerKind::EulerAncestral,
            Some("HeunDiscreteScheduler") => SchedulerKind::Heun,
            Some("LMSDiscreteScheduler") => SchedulerKind::Lms,
            Some("DPMSolverMultistepScheduler") => match self.algorithm_type {
                AlgorithmType::Ode => SchedulerKind::Dpmpp2m,
                AlgorithmType::Sde => SchedulerKind::Dpmpp2mSde,
            },
            Some("UniPCMultistepScheduler") => SchedulerKind::Unipc,
            Some("LCMScheduler") => SchedulerKind::Lcm,
            Some("TCDScheduler") => SchedulerKind::Tcd,
            _ => SchedulerKind::Ddim,
        }
    }

    /// Whether it is the schedule of SD-Turbo and SDXL-Turbo (Sauer et al. 2023), which were distilled to few steps and
    /// no guidance: Euler's, trailing, on epsilon.
    pub fn is_of_turbo(&self) -> bool {
        matches!(self.default_kind(), SchedulerKind::Euler | SchedulerKind::EulerAncestral)
            && self.timestep_spacing == Some(TimestepSpacing::Trailing)
            && self.prediction_type == PredictionType::Epsilon
    }

    /// The configuration after diffusers' `StableDiffusionPipeline` has mended it, as it does to outdated files of
    /// Stable Diffusion 1 and 2: `steps_offset` 1 and no clipping of the sample.
    #[must_use]
    pub fn mended_for_stable_diffusion(self) -> Self {
        Self { steps_offset: 1, clip_sample: Some(false), ..self }
    }

    /// # Errors
    /// [`Error::Checkpoint`] for the first thing that `kind` would have to obey and cannot.
    pub(super) fn check_supported(&self, kind: SchedulerKind) -> Result<()> {
        match self.unsupported.iter().find(|unsupported| unsupported.kinds.contains(&kind)) {
            Some(unsupported) => Err(unsupported.error.clone()),
            None => Ok(()),
        }
    }
}
