//! The timesteps of consistency models: a choice of those that the model was distilled on.

use super::run::Run;
use crate::error::{Error, Result};

/// The timesteps of lcm and tcd: evenly spaced places in the schedule of the distillation, from its end down.
///
/// # Errors
/// [`Error::InvalidParams`] for more steps than the distillation had, [`Error::Checkpoint`] where it had more than the
/// training.
pub(super) fn timesteps(run: &Run<'_>) -> Result<Vec<f64>> {
    let (train, original) = (run.train_timesteps(), run.config.original_inference_steps);
    if original > train {
        return Err(Error::Checkpoint(format!(
            "scheduler_config.json: original_inference_steps is {original}, supported is up to {train} \
             (num_train_timesteps)"
        )));
    }
    if run.steps > original {
        let allowed = format!("1 to {original} with {}, the steps of its distillation", run.kind);
        return Err(Error::invalid("num_inference_steps", run.steps, allowed));
    }
    let stride = train / original;
    let skip = original as f64 / run.steps as f64;
    let place = |step: usize| original - (step as f64 * skip).floor() as usize;
    Ok((0..run.steps).map(|step| (place(step) * stride - 1) as f64).collect())
}
