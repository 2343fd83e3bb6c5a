use candle_core::{Module, Tensor};

use super::cpu;
use super::weights::Weights;
use crate::error::Result;

/// Fully connected layer, `y = x W^T + b`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    no_bias: Tensor,
}

impl Linear {
    /// Takes `weight` (outputs, inputs), also where it is stored as a 1x1 convolution, and `bias` (outputs).
    pub fn new(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        let bias = weights.get(&[outputs], "bias")?;
        Self::with_bias(weights, inputs, outputs, Some(bias))
    }

    /// Takes `weight` (outputs, inputs) alone.
    pub fn without_bias(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        Self::with_bias(weights, inputs, outputs, None)
    }

    fn with_bias(weights: &Weights, inputs: usize, outputs: usize, bias: Option<Tensor>) -> Result<Self> {
        let weight = weights.get_reshaped(&[outputs, inputs], &[outputs, inputs, 1, 1], "weight")?;
        let no_bias = Tensor::zeros(0, weight.dtype(), weight.device())?;
        Ok(Self { weight, bias, no_bias })
    }

    /// (…, inputs) to (…, outputs).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cpu::takes(x) {
            let bias = self.bias.as_ref().unwrap_or(&self.no_bias);
            return Ok(x.contiguous()?.apply_op3_no_bwd(&self.weight, bias, &cpu::Linear)?);
        }
        Ok(candle_nn::Linear::new(self.weight.clone(), self.bias.clone()).forward(x)?)
    }
}
