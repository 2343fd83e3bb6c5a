use candle_core::{Module, Tensor};

use super::Activation;
use super::cpu;
use super::weights::Weights;
use crate::error::Result;

/// Group normalisation over channels and positions (Wu and He 2018).
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Takes `weight` and `bias` (channels); `groups` must divide `channels`, which the configurations check.
    pub fn new(weights: &Weights, groups: usize, channels: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (weights.get(&[channels], "weight")?, weights.get(&[channels], "bias")?);
        Ok(Self { weight, bias, groups, eps })
    }

    /// (batch, channels, …) to the same.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, false)
    }

    /// [`GroupNorm::forward`] followed by SiLU, in one pass where the device can.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, true)
    }

    fn run(&self, x: &Tensor, silu: bool) -> Result<Tensor> {
        if cpu::takes(x) {
            let op = cpu::GroupNorm { groups: self.groups, eps: self.eps, silu };
            return Ok(x.contiguous()?.apply_op3_no_bwd(&self.weight, &self.bias, &op)?);
        }
        let channels = self.weight.elem_count();
        let norm = candle_nn::GroupNorm::new(self.weight.clone(), self.bias.clone(), channels, self.groups, self.eps)?;
        let y = norm.forward(x)?;
        if silu { Activation::Silu.forward(&y) } else { Ok(y) }
    }
}

/// Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016).
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Takes `weight` and `bias` (width).
    pub fn new(weights: &Weights, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: weights.get(&[width], "weight")?, bias: weights.get(&[width], "bias")?, eps })
    }

    /// (…, width) to the same.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if cpu::takes(x) {
            let op = cpu::LayerNorm { eps: self.eps };
            return Ok(x.contiguous()?.apply_op3_no_bwd(&self.weight, &self.bias, &op)?);
        }
        Ok(candle_nn::LayerNorm::new(self.weight.clone(), self.bias.clone(), self.eps).forward(x)?)
    }
}
