//! Which training timesteps a run visits: table 2 of Lin et al. (2023), in numpy's arithmetic.

use std::str::FromStr;

use crate::error::{Error, Result};

/// Where the timesteps of a run lie among those of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestepSpacing {
    /// Multiples of a whole step from 0 up; the last training timestep is never visited.
    Leading,
    /// Evenly down from the last training timestep; 0 is never visited.
    Trailing,
    /// Evenly between both ends.
    Linspace,
}

impl TimestepSpacing {
    /// All of them by diffusers' names.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("leading", Self::Leading), ("trailing", Self::Trailing), ("linspace", Self::Linspace)];

    /// diffusers' name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
        }
    }
}

impl FromStr for TimestepSpacing {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|&(_, spacing)| spacing)
            .ok_or_else(|| Error::invalid("timestep_spacing", name, "leading, trailing, linspace"))
    }
}

/// `(np.arange(count) * ratio)[::-1] + offset`.
pub(super) fn leading(count: usize, ratio: usize, offset: u64) -> Vec<f64> {
    (0..count).rev().map(|i| (i * ratio) as f64 + offset as f64).collect()
}

/// `np.arange(start, 0, -step).round() - 1`.
pub(super) fn trailing(start: usize, step: f64) -> Vec<f64> {
    let start = start as f64;
    // numpy takes the step anew from the first two values.
    let difference = (start - step) - start;
    let count = (start / step).ceil() as usize;
    (0..count).map(|i| (start + i as f64 * difference).round_ties_even() - 1.0).collect()
}

/// `np.linspace(start, stop, count)`.
pub(super) fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { (stop - start) / (count - 1) as f64 } else { 0.0 };
    let mut values: Vec<f64> = (0..count).map(|i| i as f64 * step + start).collect();
    if let [_, .., last] = values.as_mut_slice() {
        *last = stop;
    }
    values
}
