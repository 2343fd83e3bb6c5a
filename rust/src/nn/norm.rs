use candle_core::{Module, Tensor};

use super::Activation;
use super::conv2d::joined_channels;
use super::cpu::{self, channels_first, channels_last};
use super::weights::Weights;
use crate::error::Result;

/// Group normalisation over channels and positions (Wu and He 2018).
pub struct GroupNorm(GroupNormKernel);

enum GroupNormKernel {
    Cpu(cpu::GroupNorm),
    Candle(candle_nn::GroupNorm),
}

impl GroupNorm {
    /// Takes `weight` and `bias` (channels); `groups` must divide `channels`, which the configurations check.
    pub fn new(weights: &Weights, groups: usize, channels: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (weights.get(&[channels], "weight")?, weights.get(&[channels], "bias")?);
        let packed = weights.pack(&weight, |_, values| {
            let (weight, bias) = (values.to_vec(), bias.to_vec1()?);
            Ok((cpu::GroupNorm { weight, bias, groups, eps }, size_of_val(values)))
        })?;
        Ok(Self(match packed {
            Some(norm) => GroupNormKernel::Cpu(norm),
            None => GroupNormKernel::Candle(candle_nn::GroupNorm::new(weight, bias, channels, groups, eps)?),
        }))
    }

    /// (batch, channels, h, w) to the same.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(&[x], false)
    }

    /// [`GroupNorm::forward`] of feature maps joined along their channels, followed by SiLU.
    pub fn forward_silu(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        self.run(inputs, true)
    }

    /// [`GroupNorm::forward_silu`] of one feature map, whose memory the result may take: nobody else may hold it.
    pub fn forward_silu_in_place(&self, x: Tensor) -> Result<Tensor> {
        match &self.0 {
            GroupNormKernel::Cpu(norm) => channels_first(&norm.forward_in_place(channels_last(&x)?, true)?),
            GroupNormKernel::Candle(_) => self.forward_silu(&[&x]),
        }
    }

    fn run(&self, inputs: &[&Tensor], silu: bool) -> Result<Tensor> {
        match &self.0 {
            GroupNormKernel::Cpu(norm) => {
                let inputs = inputs.iter().map(|input| channels_last(input)).collect::<Result<Vec<_>>>()?;
                channels_first(&norm.forward(&inputs.iter().collect::<Vec<_>>(), silu)?)
            }
            GroupNormKernel::Candle(norm) => {
                let y = norm.forward(&joined_channels(inputs)?)?;
                if silu { Activation::Silu.forward(&y) } else { Ok(y) }
            }
        }
    }
}

/// Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016).
pub struct LayerNorm(LayerNormKernel);

enum LayerNormKernel {
    Cpu(cpu::LayerNorm),
    Candle(candle_nn::LayerNorm),
}

impl LayerNorm {
    /// Takes `weight` and `bias` (width).
    pub fn new(weights: &Weights, width: usize, eps: f64) -> Result<Self> {
        let (weight, bias) = (weights.get(&[width], "weight")?, weights.get(&[width], "bias")?);
        let packed = weights.pack(&weight, |_, values| {
            Ok((cpu::LayerNorm { weight: values.to_vec(), bias: bias.to_vec1()?, eps }, size_of_val(values)))
        })?;
        let candle = || LayerNormKernel::Candle(candle_nn::LayerNorm::new(weight.clone(), bias.clone(), eps));
        Ok(Self(packed.map_or_else(candle, LayerNormKernel::Cpu)))
    }

    /// (…, width) to the same.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            LayerNormKernel::Cpu(norm) => norm.forward(x),
            LayerNormKernel::Candle(norm) => Ok(norm.forward(x)?),
        }
    }
}
