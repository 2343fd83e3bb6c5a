//! `scheduler_config.json`, as diffusers' scheduler classes read it.

use serde_json::Value;

use super::SchedulerKind;
use super::betas::{Betas, MAX_TRAIN_TIMESTEPS};
use super::fields::{Fields, bad, strict_json};
use super::spacing::TimestepSpacing;
use super::unsupported::{Unsupported, unsupported};
use crate::error::{Error, Result};

/// What the network's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The clean sample.
    Sample,
    /// The velocity of Salimans and Ho (2022), section 2.4: `alpha * noise - sigma * sample`.
    VPrediction,
}

impl PredictionType {
    /// diffusers' name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::VPrediction => "v_prediction",
        }
    }
}

/// The sigma after the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalSigmasType {
    /// Zero.
    Zero,
    /// That of training timestep 0.
    SigmaMin,
}

/// How euler finds sigmas between the training timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterpolationType {
    /// Linear in the timestep.
    Linear,
    /// Evenly spaced logarithms, whatever the timesteps.
    LogLinear,
}

/// What euler feeds to the network as its timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestepType {
    /// The training timestep.
    Discrete,
    /// With v-prediction a quarter of the logarithm of sigma.
    Continuous,
}

/// The second-order update of dpm++.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SolverType {
    /// The midpoint method.
    Midpoint,
    /// Heun's method.
    Heun,
}

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
    /// ddim: the last step goes to noise-free samples, not to training timestep 0.
    pub set_alpha_to_one: bool,
    /// ddim: the predicted clean sample is clamped to plus and minus this.
    pub clip_sample_range: Option<f64>,
    /// euler, dpm++: sigmas of Karras et al. (2022), rho 7.
    pub use_karras_sigmas: bool,
    /// euler, dpm++: the smallest of the Karras sigmas.
    pub sigma_min: Option<f64>,
    /// euler, dpm++: the largest of the Karras sigmas.
    pub sigma_max: Option<f64>,
    /// euler, dpm++: the sigma after the last step.
    pub final_sigmas_type: FinalSigmasType,
    /// euler: how sigmas are interpolated.
    pub interpolation_type: InterpolationType,
    /// euler: what the network is told as its timestep.
    pub timestep_type: TimestepType,
    /// dpm++: 1 or 2.
    pub solver_order: u64,
    /// dpm++: the second-order update.
    pub solver_type: SolverType,
    /// dpm++: below 15 steps the last one is of first order.
    pub lower_order_final: bool,
    /// dpm++: the last step is of first order.
    pub euler_at_final: bool,
    /// dpm++: timesteps whose log signal-to-noise ratio is below this are left out.
    pub lambda_min_clipped: f64,
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
        let clip = fields.number("clip_sample_range", positive, "a positive number")?.unwrap_or(1.0);
        let order = fields.integer("solver_order", 2, 3)?;
        if order == 0 {
            return Err(bad("solver_order", order, "1 or 2"));
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
            set_alpha_to_one: fields.bool("set_alpha_to_one", true)?,
            clip_sample_range: fields.bool("clip_sample", true)?.then_some(clip),
            use_karras_sigmas: fields.bool("use_karras_sigmas", false)?,
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
            solver_order: order,
            // DEIS and UniPC write their own names, which diffusers reads as the midpoint method.
            solver_type: fields
                .choice(
                    "solver_type",
                    &[
                        ("midpoint", SolverType::Midpoint),
                        ("heun", SolverType::Heun),
                        ("logrho", SolverType::Midpoint),
                        ("bh1", SolverType::Midpoint),
                        ("bh2", SolverType::Midpoint),
                    ],
                )?
                .unwrap_or(SolverType::Midpoint),
            lower_order_final: fields.bool("lower_order_final", true)?,
            euler_at_final: fields.bool("euler_at_final", false)?,
            lambda_min_clipped: fields
                .number("lambda_min_clipped", |x| finite(x) || x == f64::NEG_INFINITY, "a number or -Infinity")?
                .unwrap_or(f64::NEG_INFINITY),
            unsupported: unsupported(&fields)?,
        })
    }

    /// The kind that stands for the configuration's own class; ddim for the classes that are not here, PNDM above all.
    pub fn default_kind(&self) -> SchedulerKind {
        match self.class_name.as_deref() {
            Some("EulerDiscreteScheduler") => SchedulerKind::Euler,
            Some("EulerAncestralDiscreteScheduler") => SchedulerKind::EulerAncestral,
            Some("DPMSolverMultistepScheduler") => SchedulerKind::Dpmpp2m,
            _ => SchedulerKind::Ddim,
        }
    }

    /// The configuration after diffusers' `StableDiffusionPipeline` has mended it, as it does to outdated files of
    /// Stable Diffusion 1 and 2: `steps_offset` 1 and no clipping of the sample.
    #[must_use]
    pub fn mended_for_stable_diffusion(self) -> Self {
        Self { steps_offset: 1, clip_sample_range: None, ..self }
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
