//! What every scheduler starts from, checked.

use super::choices::PredictionType;
use super::config::SchedulerConfig;
use super::kind::SchedulerKind;
use super::options::SchedulerOptions;
use super::sigmas::SigmaSchedule;
use super::spacing::{self, TimestepSpacing};
use crate::error::{Error, Result};

/// What is left of the signal at the last timestep of zero-terminal-SNR betas where a sigma must be finite.
const LEAST_ALPHA: f32 = 1.0 / (1 << 24) as f32;

/// A run of one kind under one configuration.
pub(super) struct Run<'a> {
    pub(super) kind: SchedulerKind,
    pub(super) config: &'a SchedulerConfig,
    pub(super) spacing: TimestepSpacing,
    pub(super) sigma_schedule: SigmaSchedule,
    pub(super) eta: f64,
    pub(super) steps: usize,
    pub(super) alphas_cumprod: Vec<f32>,
}

impl<'a> Run<'a> {
    /// # Errors
    /// As [`super::create`].
    pub(super) fn new(
        kind: SchedulerKind,
        config: &'a SchedulerConfig,
        steps: usize,
        options: &SchedulerOptions,
    ) -> Result<Self> {
        let most = config.betas.count;
        if steps == 0 || steps > most {
            return Err(Error::invalid("num_inference_steps", steps, format!("1 to {most}")));
        }
        options.check(kind)?;
        config.check_supported(kind)?;
        let options = options.resolved(kind, config);
        let zero_snr = options.rescale_betas_zero_snr == Some(true);
        let mut alphas_cumprod = config.betas.alphas_cumprod(&kind.defaults(), zero_snr)?;
        if let Some(last) = alphas_cumprod.last_mut().filter(|_| zero_snr && kind.has_sigmas()) {
            *last = LEAST_ALPHA;
        }
        Ok(Self {
            kind,
            config,
            spacing: options.timestep_spacing.unwrap_or(kind.defaults().timestep_spacing),
            sigma_schedule: options.sigma_schedule()?,
            eta: options.eta,
            steps,
            alphas_cumprod,
        })
    }

    pub(super) fn train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Whole training steps between two steps of the run.
    pub(super) fn stride(&self) -> f64 {
        (self.train_timesteps() / self.steps) as f64
    }

    /// What the predicted clean sample is clamped to, plus and minus.
    pub(super) fn clip_sample_range(&self) -> Option<f64> {
        let clip = self.config.clip_sample.unwrap_or(self.kind.defaults().clip_sample);
        clip.then_some(self.config.clip_sample_range)
    }

    /// The share of signal where a step would end before training timestep 0.
    pub(super) fn final_alpha_cumprod(&self) -> f32 {
        let one = self.config.set_alpha_to_one.unwrap_or(self.kind.defaults().set_alpha_to_one);
        if one { 1.0 } else { self.alphas_cumprod.first().copied().unwrap_or(1.0) }
    }

    /// The timesteps by spacing, before any rounding.
    pub(super) fn timesteps(&self) -> Vec<f64> {
        let train = self.train_timesteps();
        match self.spacing {
            TimestepSpacing::Leading => spacing::leading(self.steps, train / self.steps, self.config.steps_offset),
            TimestepSpacing::Trailing => spacing::trailing(train, train as f64 / self.steps as f64),
            TimestepSpacing::Linspace => {
                let mut timesteps = spacing::linspace(0.0, (train - 1) as f64, self.steps);
                timesteps.reverse();
                timesteps
            }
        }
    }

    /// The timesteps by spacing, whole and inside the training schedule.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for a number of steps that leads outside.
    pub(super) fn whole_timesteps(&self) -> Result<Vec<f64>> {
        let timesteps: Vec<f64> = self.timesteps().into_iter().map(f64::round_ties_even).collect();
        let last = (self.train_timesteps() - 1) as f64;
        match timesteps.iter().find(|timestep| !(0.0..=last).contains(*timestep)) {
            Some(timestep) => Err(Error::invalid(
                "num_inference_steps",
                self.steps,
                format!("fewer: timestep {timestep} lies outside 0 to {last}"),
            )),
            None => Ok(timesteps),
        }
    }

    /// The share of signal at a whole timestep from which a step starts.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where there is no noise to remove, or no signal to find the clean sample by.
    pub(super) fn starting_alpha(&self, timestep: f64) -> Result<f32> {
        let alpha = self.alphas_cumprod.get(timestep as usize).copied().unwrap_or(1.0);
        let complaint = if alpha >= 1.0 {
            "leave no noise"
        } else if alpha <= 0.0 && self.config.prediction_type == PredictionType::Epsilon {
            "with prediction_type epsilon leave no signal"
        } else {
            return Ok(alpha);
        };
        Err(Error::Checkpoint(format!(
            "scheduler_config.json: its betas {complaint} at timestep {timestep}, where a step would start"
        )))
    }

    /// The share of signal at a whole timestep, the final one's below 0.
    pub(super) fn alpha_or_final(&self, timestep: f64) -> f32 {
        let inside = if timestep >= 0.0 { self.alphas_cumprod.get(timestep as usize).copied() } else { None };
        inside.unwrap_or_else(|| self.final_alpha_cumprod())
    }
}
