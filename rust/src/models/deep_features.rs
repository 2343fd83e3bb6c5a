//! What DeepCache keeps between the steps of one picture.

use candle_core::Tensor;

use crate::error::Result;

/// The input of the UNet's shallow half, as a step before computed it (Ma et al. 2023, DeepCache, section 3.2).
///
/// The halves part at a skip connection: its own layers on the way down and up, and all that are further out, are the
/// shallow half.
pub struct DeepFeatures {
    branch: usize,
    kept: Option<Tensor>,
}

impl DeepFeatures {
    /// Nothing yet, for halves that part at the skip connection `branch`, counted from the outside, 0 that of `conv_in`.
    pub fn new(branch: usize) -> Self {
        Self { branch, kept: None }
    }

    /// The skip connection.
    pub fn branch(&self) -> usize {
        self.branch
    }

    /// Makes ready for a step on `batch` samples; `key` steps compute everything anew.
    ///
    /// Where a step has fewer samples than the one before, they are its last ones: of a guided pair, the conditional.
    /// Where it has more, it is a key step too.
    pub fn begin_step(&mut self, key: bool, batch: usize) -> Result<()> {
        if let Some(features) = self.kept.take().filter(|_| !key) {
            let known = features.dim(0)?;
            if known >= batch {
                self.kept = Some(features.narrow(0, known - batch, batch)?);
            }
        }
        Ok(())
    }

    /// What is kept for this step.
    pub fn kept(&self) -> Option<&Tensor> {
        self.kept.as_ref()
    }

    /// Keeps `features`, (batch, channels, h, w).
    pub fn keep(&mut self, features: &Tensor) {
        self.kept = Some(features.clone());
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn kept(features: &DeepFeatures) -> Option<Vec<f32>> {
        features.kept().map(|tensor| tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32"))
    }

    #[test]
    fn features_live_from_a_key_step_to_the_next() {
        let pair = Tensor::new(&[[[[1f32]]], [[[2f32]]]], &Device::Cpu).expect("a tensor");
        let mut features = DeepFeatures::new(0);
        features.begin_step(false, 2).expect("begun");
        assert_eq!(kept(&features), None);
        features.keep(&pair);
        features.begin_step(false, 2).expect("begun");
        assert_eq!(kept(&features), Some(vec![1.0, 2.0]));
        features.begin_step(false, 1).expect("begun");
        assert_eq!(kept(&features), Some(vec![2.0]), "the conditional half");
        features.begin_step(false, 2).expect("begun");
        assert_eq!(kept(&features), None, "one half cannot serve two");
        features.keep(&pair);
        features.begin_step(true, 2).expect("begun");
        assert_eq!(kept(&features), None);
    }
}
