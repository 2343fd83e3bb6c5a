//! The sampling algorithms by name, and in what their classes differ.

use std::fmt;
use std::str::FromStr;

use super::betas::BetaSchedule;
use super::spacing::TimestepSpacing;
use crate::error::{Error, Result};

/// A sampling algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Song et al. (2020), diffusers' `DDIMScheduler`.
    Ddim,
    /// Ho et al. (2020), diffusers' `DDPMScheduler`.
    Ddpm,
    /// Euler's method of Karras et al. (2022) without churn, diffusers' `EulerDiscreteScheduler`.
    Euler,
    /// Euler's method with ancestral noise, diffusers' `EulerAncestralDiscreteScheduler`.
    EulerAncestral,
    /// Heun's method of Karras et al. (2022) without churn, diffusers' `HeunDiscreteScheduler`.
    Heun,
    /// Linear multistep of order 4, diffusers' `LMSDiscreteScheduler`.
    Lms,
    /// Liu et al. (2022), diffusers' `PNDMScheduler`.
    Pndm,
    /// DPM-Solver++ of Lu et al. (2022), multistep, of second order: diffusers' `DPMSolverMultistepScheduler`.
    Dpmpp2m,
    /// The same class with `algorithm_type="sde-dpmsolver++"`.
    Dpmpp2mSde,
    /// Zhao et al. (2023), diffusers' `UniPCMultistepScheduler`.
    Unipc,
    /// Latent consistency models, Luo et al. (2023): diffusers' `LCMScheduler`.
    Lcm,
    /// Trajectory consistency distillation, Zheng et al. (2024): diffusers' `TCDScheduler`.
    Tcd,
}

/// What a class takes for keys that a configuration lacks.
pub(super) struct ClassDefaults {
    pub(super) beta_start: f64,
    pub(super) beta_end: f64,
    pub(super) beta_schedule: BetaSchedule,
    pub(super) clip_sample: bool,
    pub(super) set_alpha_to_one: bool,
    pub(super) timestep_spacing: TimestepSpacing,
}

impl SchedulerKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Ddim,
        Self::Ddpm,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::Lms,
        Self::Pndm,
        Self::Dpmpp2m,
        Self::Dpmpp2mSde,
        Self::Unipc,
        Self::Lcm,
        Self::Tcd,
    ];

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-ancestral",
            Self::Heun => "heun",
            Self::Lms => "lms",
            Self::Pndm => "pndm",
            Self::Dpmpp2m => "dpm++-2m",
            Self::Dpmpp2mSde => "dpm++-2m-sde",
            Self::Unipc => "unipc",
            Self::Lcm => "lcm",
            Self::Tcd => "tcd",
        }
    }

    /// Whether the class has an `eta`.
    pub const fn has_eta(self) -> bool {
        matches!(self, Self::Ddim | Self::Tcd)
    }

    /// Whether the class has `use_karras_sigmas`, `use_exponential_sigmas` and `use_beta_sigmas`.
    pub const fn has_sigma_schedules(self) -> bool {
        matches!(self, Self::Euler | Self::Heun | Self::Lms | Self::Dpmpp2m | Self::Dpmpp2mSde | Self::Unipc)
    }

    /// Whether the class has `rescale_betas_zero_snr`.
    pub const fn has_zero_snr(self) -> bool {
        !matches!(self, Self::Heun | Self::Lms | Self::Pndm)
    }

    /// Whether the class obeys `timestep_spacing`; the consistency models visit the timesteps of their distillation.
    pub const fn has_timestep_spacing(self) -> bool {
        !matches!(self, Self::Lcm | Self::Tcd)
    }

    /// Whether the class works on sigmas, which zero-terminal-SNR betas must leave finite.
    pub(super) const fn has_sigmas(self) -> bool {
        self.has_sigma_schedules() || matches!(self, Self::EulerAncestral)
    }

    pub(super) const fn defaults(self) -> ClassDefaults {
        let consistency = matches!(self, Self::Lcm | Self::Tcd);
        let stable_diffusion = consistency || matches!(self, Self::Heun);
        ClassDefaults {
            beta_start: if stable_diffusion { 0.00085 } else { 0.0001 },
            beta_end: if stable_diffusion { 0.012 } else { 0.02 },
            beta_schedule: if consistency { BetaSchedule::ScaledLinear } else { BetaSchedule::Linear },
            clip_sample: matches!(self, Self::Ddim | Self::Ddpm),
            set_alpha_to_one: !matches!(self, Self::Pndm),
            timestep_spacing: match self {
                Self::Ddim | Self::Ddpm | Self::Pndm | Self::Lcm | Self::Tcd => TimestepSpacing::Leading,
                _ => TimestepSpacing::Linspace,
            },
        }
    }

    /// The names of the kinds that `has` something, for messages.
    pub(super) fn names_where(has: impl Fn(Self) -> bool) -> String {
        let names: Vec<_> = Self::ALL.into_iter().filter(|kind| has(*kind)).map(Self::name).collect();
        names.join(", ")
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
