use candle_core::{DType, Device, Tensor};

use super::weights::Weights;
use super::{Activation, Linear};
use crate::error::Result;

/// Sinusoidal embedding of timesteps and of SDXL's sizes (Vaswani et al. 2017, section 3.5), after diffusers' `get_timestep_embedding`.
#[derive(Debug, Clone, Copy)]
pub struct TimeEmbedding {
    /// Width of the embedding; even.
    pub width: usize,
    /// Cosines first, then sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the half width in the exponent's denominator.
    pub freq_shift: f64,
}

impl TimeEmbedding {
    /// The embedding of each of `values`, (values, width), in f32 whatever the model's dtype: in bf16 it would lose 44 %.
    pub fn forward(&self, values: &[f64], device: &Device) -> Result<Tensor> {
        let embeddings: Vec<f32> = values.iter().flat_map(|value| self.of_one(*value)).collect();
        Ok(Tensor::from_vec(embeddings, (values.len(), 2 * (self.width / 2)), device)?)
    }

    fn of_one(&self, value: f64) -> Vec<f32> {
        let half = self.width / 2;
        let (logarithm, count) = (-10_000f64.ln() as f32, (half as f64 - self.freq_shift) as f32);
        let angle = |index: usize| value as f32 * (logarithm * index as f32 / count).exp();
        let sines = (0..half).map(|index| angle(index).sin());
        let cosines = (0..half).map(|index| angle(index).cos());
        if self.flip_sin_to_cos { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() }
    }
}

/// Two linear layers with SiLU between, after diffusers' `TimestepEmbedding`.
pub struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimestepEmbedding {
    /// Takes `linear_1` (outputs, inputs) and `linear_2` (outputs, outputs).
    pub fn new(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        // Everything depends on it, and it costs next to nothing.
        let weights = weights.exact();
        Ok(Self {
            linear_1: Linear::new(&weights.pp("linear_1"), inputs, outputs)?,
            linear_2: Linear::new(&weights.pp("linear_2"), outputs, outputs)?,
        })
    }

    /// (batch, inputs) in f32 to (batch, outputs) in `dtype`.
    pub fn forward(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let x = self.linear_1.forward(&x.to_dtype(dtype)?)?;
        self.linear_2.forward(&Activation::Silu.forward(&x)?)
    }
}
