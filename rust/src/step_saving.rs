//! Options that compute less at each step and change the picture for it; all of them are off by default.

use crate::error::{Error, Result};

/// The part of the steps that has guidance (Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval").
///
/// Counted as diffusers counts `control_guidance_start` and `control_guidance_end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuidanceInterval {
    start: f64,
    end: f64,
}

impl GuidanceInterval {
    /// From `start` to `end` as fractions of the steps; none is the beginning, or the end.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] unless `0 <= start < end <= 1`.
    pub fn new(start: Option<f64>, end: Option<f64>) -> Result<Self> {
        let (start, end) = (start.unwrap_or(0.0), end.unwrap_or(1.0));
        if !(0.0..1.0).contains(&start) {
            return Err(Error::invalid("guidance_start", start, "a number from 0 to below 1"));
        }
        if !(0.0..=1.0).contains(&end) || end <= start {
            return Err(Error::invalid(
                "guidance_end",
                end,
                format!("a number above guidance_start, {start}, up to 1"),
            ));
        }
        Ok(Self { start, end })
    }

    /// Fraction of the steps before the first with guidance.
    pub fn start(self) -> f64 {
        self.start
    }

    /// Fraction of the steps up to the last with guidance.
    pub fn end(self) -> f64 {
        self.end
    }

    /// Whether it is all of the steps.
    pub fn is_whole(self) -> bool {
        self.start == 0.0 && self.end == 1.0
    }

    /// Whether the step `index` of `steps` is inside.
    pub fn contains(self, index: usize, steps: usize) -> bool {
        let fraction = |index: usize| index as f64 / steps as f64;
        fraction(index) >= self.start && fraction(index + 1) <= self.end
    }
}

/// How often the deep half of the UNet runs (Ma et al. 2023, DeepCache, uniform 1:N).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeepCache {
    interval: usize,
    branch: usize,
}

impl DeepCache {
    /// Runs it at every `interval`-th step, 1 if none, from the first on; the halves part at the skip connection
    /// `branch`, 0 if none, of `branches` that the model has, counted from the outside.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for an interval of 0, for a branch that is not there, and for any interval but 1 where
    /// there are no branches.
    pub fn new(interval: Option<usize>, branch: Option<usize>, branches: usize) -> Result<Self> {
        let (interval, branch) = (interval.unwrap_or(1), branch.unwrap_or(0));
        if branches == 0 && interval != 1 {
            return Err(Error::invalid("deepcache_interval", interval, "1: this engine keeps no features"));
        }
        if interval == 0 {
            return Err(Error::invalid("deepcache_interval", interval, "1 or more"));
        }
        let last = branches.saturating_sub(1);
        if branch > last {
            return Err(Error::invalid("deepcache_branch", branch, format!("0 to {last} for this model")));
        }
        Ok(Self { interval, branch })
    }

    /// Steps from one with the whole network to the next.
    pub fn interval(self) -> usize {
        self.interval
    }

    /// The skip connection at which the halves part.
    pub fn branch(self) -> usize {
        self.branch
    }

    /// Whether any step is spared anything.
    pub fn is_on(self) -> bool {
        self.interval > 1
    }

    /// Whether the step `index` computes the whole network.
    pub fn is_key_step(self, index: usize) -> bool {
        index.is_multiple_of(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field_of<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        match result {
            Err(Error::InvalidParams { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn steps_are_counted_as_diffusers_counts_them() {
        let inside = |start, end, steps: usize| -> Vec<usize> {
            let interval = GuidanceInterval::new(Some(start), Some(end)).expect("an interval");
            (0..steps).filter(|index| interval.contains(*index, steps)).collect()
        };
        assert_eq!(inside(0.0, 1.0, 3), [0, 1, 2]);
        assert_eq!(inside(0.2, 0.8, 10), [2, 3, 4, 5, 6, 7]);
        assert_eq!(inside(0.0, 0.5, 5), [0, 1]);
        assert_eq!(inside(0.5, 1.0, 5), [3, 4]);
        assert_eq!(inside(0.4, 0.41, 5), [0usize; 0]);
    }

    #[test]
    fn each_bad_field_is_named() {
        for (start, end, field) in [
            (-0.1, 1.0, "guidance_start"),
            (1.0, 1.0, "guidance_start"),
            (f64::NAN, 1.0, "guidance_start"),
            (0.0, 0.0, "guidance_end"),
            (0.5, 0.5, "guidance_end"),
            (0.0, 1.1, "guidance_end"),
            (0.0, f64::NAN, "guidance_end"),
        ] {
            assert_eq!(field_of(GuidanceInterval::new(Some(start), Some(end))), field, "{start} {end}");
        }
        assert_eq!(field_of(DeepCache::new(Some(0), None, 12)), "deepcache_interval");
        assert_eq!(field_of(DeepCache::new(None, Some(12), 12)), "deepcache_branch");
        assert_eq!(field_of(DeepCache::new(Some(2), None, 0)), "deepcache_interval");
        assert_eq!(field_of(DeepCache::new(None, Some(1), 0)), "deepcache_branch");
        DeepCache::new(None, None, 0).expect("off is always possible");
    }

    proptest! {
        #[test]
        fn an_interval_is_one_run_of_steps(start in 0f64..1.0, end in 0f64..=1.0, steps in 1usize..200) {
            match GuidanceInterval::new(Some(start), Some(end)) {
                Ok(interval) => {
                    let inside: Vec<usize> = (0..steps).filter(|index| interval.contains(*index, steps)).collect();
                    prop_assert!(inside.windows(2).all(|pair| pair[1] == pair[0] + 1));
                    prop_assert!(inside.len() as f64 <= (end - start) * steps as f64 + 1e-9);
                    prop_assert!(inside.len() as f64 > (end - start) * steps as f64 - 2.0);
                }
                Err(error) => {
                    let named = matches!(error, Error::InvalidParams { field: "guidance_end", .. });
                    prop_assert!(end <= start && named, "{:?}", error);
                }
            }
            let whole = GuidanceInterval::new(None, None).expect("off");
            prop_assert!(whole.is_whole() && (0..steps).all(|index| whole.contains(index, steps)));
        }

        #[test]
        fn any_cache_is_held_to_its_bounds(
            interval in prop::option::of(prop_oneof![0usize..4, any::<usize>()]),
            branch in prop::option::of(0usize..20),
            branches in 0usize..16,
        ) {
            match DeepCache::new(interval, branch, branches) {
                Ok(cache) => {
                    prop_assert!(cache.interval() > 0 && cache.branch() < branches.max(1));
                    prop_assert!(cache.is_key_step(0) && (branches > 0 || !cache.is_on()));
                }
                Err(error) => prop_assert!(matches!(error, Error::InvalidParams { .. }), "{:?}", error),
            }
        }
    }
}
