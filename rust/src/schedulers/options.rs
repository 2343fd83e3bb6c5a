//! What a caller may ask of a scheduler.

use super::config::SchedulerConfig;
use super::kind::SchedulerKind;
use super::sigmas::SigmaSchedule;
use super::spacing::TimestepSpacing;
use crate::error::{Error, Result};

/// What a caller may ask of a scheduler beyond its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SchedulerOptions {
    /// ddim, tcd: the share of fresh noise in every step, 0 to 1. Other kinds take only 0.
    pub eta: f64,
    /// Replaces the configuration's spacing; lcm and tcd take none.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Replaces the configuration's choice of noise levels; only kinds with [`SchedulerKind::has_sigma_schedules`] take
    /// a `true`, and of the three only one.
    pub use_karras_sigmas: Option<bool>,
    /// As `use_karras_sigmas`.
    pub use_exponential_sigmas: Option<bool>,
    /// As `use_karras_sigmas`.
    pub use_beta_sigmas: Option<bool>,
    /// Replaces the configuration's choice; only kinds with [`SchedulerKind::has_zero_snr`] take a `true`.
    pub rescale_betas_zero_snr: Option<bool>,
}

impl SchedulerOptions {
    /// The options with what is left open filled in, by the configuration or else by what `kind`'s class defaults to.
    /// Where a `true` chooses the noise levels, what the configuration chooses falls away.
    #[must_use]
    pub fn resolved(self, kind: SchedulerKind, config: &SchedulerConfig) -> Self {
        let spacing = self.timestep_spacing.or(config.timestep_spacing).unwrap_or(kind.defaults().timestep_spacing);
        let open = kind.has_sigma_schedules() && !self.sigma_choices().iter().any(|(.., given)| *given == Some(true));
        let sigmas = |given: Option<bool>, configured: bool| Some(given.unwrap_or(open && configured));
        let zero_snr = kind.has_zero_snr() && config.rescale_betas_zero_snr;
        Self {
            eta: self.eta,
            timestep_spacing: kind.has_timestep_spacing().then_some(spacing),
            use_karras_sigmas: sigmas(self.use_karras_sigmas, config.use_karras_sigmas),
            use_exponential_sigmas: sigmas(self.use_exponential_sigmas, config.use_exponential_sigmas),
            use_beta_sigmas: sigmas(self.use_beta_sigmas, config.use_beta_sigmas),
            rescale_betas_zero_snr: Some(self.rescale_betas_zero_snr.unwrap_or(zero_snr)),
        }
    }

    fn sigma_choices(&self) -> [(&'static str, SigmaSchedule, Option<bool>); 3] {
        [
            ("use_karras_sigmas", SigmaSchedule::Karras, self.use_karras_sigmas),
            ("use_exponential_sigmas", SigmaSchedule::Exponential, self.use_exponential_sigmas),
            ("use_beta_sigmas", SigmaSchedule::Beta, self.use_beta_sigmas),
        ]
    }

    /// # Errors
    /// [`Error::InvalidParams`] for what `kind` does not have or no kind has.
    pub(super) fn check(&self, kind: SchedulerKind) -> Result<()> {
        if !(0.0..=1.0).contains(&self.eta) {
            return Err(Error::invalid("eta", self.eta, "0 to 1"));
        }
        let only = |has: fn(SchedulerKind) -> bool| SchedulerKind::names_where(has);
        if self.eta != 0.0 && !kind.has_eta() {
            let which = only(SchedulerKind::has_eta);
            return Err(Error::invalid("eta", self.eta, format!("0 with {kind}; others are for {which}")));
        }
        if let Some(spacing) = self.timestep_spacing.filter(|_| !kind.has_timestep_spacing()) {
            let allowed = format!("none with {kind}, which visits the timesteps of its distillation");
            return Err(Error::invalid("timestep_spacing", spacing.name(), allowed));
        }
        let chosen = self.sigma_choices().into_iter().filter(|(.., given)| *given == Some(true));
        for (position, (field, ..)) in chosen.enumerate() {
            if !kind.has_sigma_schedules() {
                let which = only(SchedulerKind::has_sigma_schedules);
                return Err(Error::invalid(field, true, format!("false with {kind}; true is for {which}")));
            }
            if position > 0 {
                let allowed = "false beside another choice of sigmas: karras, exponential or beta";
                return Err(Error::invalid(field, true, allowed));
            }
        }
        if self.rescale_betas_zero_snr == Some(true) && !kind.has_zero_snr() {
            let which = only(SchedulerKind::has_zero_snr);
            let allowed = format!("false with {kind}; true is for {which}");
            return Err(Error::invalid("rescale_betas_zero_snr", true, allowed));
        }
        Ok(())
    }

    /// The noise levels that resolved options choose.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the configuration chooses two.
    pub(super) fn sigma_schedule(&self) -> Result<SigmaSchedule> {
        let mut chosen = self.sigma_choices().into_iter().filter(|(.., given)| *given == Some(true));
        match (chosen.next(), chosen.next()) {
            (None, _) => Ok(SigmaSchedule::Training),
            (Some((_, schedule, _)), None) => Ok(schedule),
            (Some((one, ..)), Some((other, ..))) => Err(Error::Checkpoint(format!(
                "scheduler_config.json: {one} and {other} are both true, supported is one of them"
            ))),
        }
    }
}
