use candle_core::{DType, Module, Tensor};

use super::Activation;
use super::conv2d::joined_channels;
use super::cpu::{self, GroupMoments, channels_first, channels_last};
use super::weights::Weights;
use crate::error::Result;

/// Group normalisation over channels and positions (Wu and He 2018).
pub struct GroupNorm(GroupNormKernel);

enum GroupNormKernel {
    Cpu(cpu::GroupNorm),
    Candle(CandleGroupNorm),
}

struct CandleGroupNorm {
    norm: candle_nn::GroupNorm,
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
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
            None => {
                let norm = candle_nn::GroupNorm::new(weight.clone(), bias.clone(), channels, groups, eps)?;
                GroupNormKernel::Candle(CandleGroupNorm { norm, weight, bias, groups, eps })
            }
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
        self.run_in_place(x, None)
    }

    /// [`GroupNorm::forward_silu_in_place`] by other moments than those of `x`.
    pub fn forward_silu_by(&self, x: Tensor, moments: &GroupMoments) -> Result<Tensor> {
        self.run_in_place(x, Some(moments))
    }

    /// The moments of all of `x` (batch, channels, h, w) together.
    pub fn moments(&self, x: &Tensor) -> Result<GroupMoments> {
        match &self.0 {
            GroupNormKernel::Cpu(norm) => norm.moments(&channels_last(x)?),
            GroupNormKernel::Candle(norm) => norm.moments(x),
        }
    }

    fn run(&self, inputs: &[&Tensor], silu: bool) -> Result<Tensor> {
        match &self.0 {
            GroupNormKernel::Cpu(norm) => {
                let inputs = inputs.iter().map(|input| channels_last(input)).collect::<Result<Vec<_>>>()?;
                channels_first(&norm.forward(&inputs.iter().collect::<Vec<_>>(), silu)?)
            }
            GroupNormKernel::Candle(norm) => {
                let y = norm.norm.forward(&joined_channels(inputs)?)?;
                if silu { Activation::Silu.forward(&y) } else { Ok(y) }
            }
        }
    }

    fn run_in_place(&self, x: Tensor, moments: Option<&GroupMoments>) -> Result<Tensor> {
        match (&self.0, moments) {
            (GroupNormKernel::Cpu(norm), _) => {
                let rows = channels_last(&x)?;
                drop(x);
                channels_first(&norm.forward_in_place(rows, true, moments)?)
            }
            (GroupNormKernel::Candle(norm), Some(moments)) => Activation::Silu.forward(&norm.forward_by(&x, moments)?),
            (GroupNormKernel::Candle(_), None) => self.forward_silu(&[&x]),
        }
    }
}

impl CandleGroupNorm {
    fn moments(&self, x: &Tensor) -> Result<GroupMoments> {
        let (batch, ..) = x.dims4()?;
        let grouped = x.to_dtype(DType::F32)?.contiguous()?.reshape((batch, self.groups, ()))?;
        // The mean of squares of what is left without the mean: f32 would lose it in a difference.
        let mean = grouped.mean(2)?.mean(0)?;
        let centred = grouped.broadcast_sub(&mean.reshape((1, self.groups, 1))?)?;
        let variance = centred.sqr()?.mean(2)?.mean(0)?;
        Ok(GroupMoments {
            mean: mean.to_dtype(DType::F64)?.to_vec1()?,
            variance: variance.to_dtype(DType::F64)?.to_vec1()?,
        })
    }

    fn forward_by(&self, x: &Tensor, moments: &GroupMoments) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let by_group = |values: Vec<f32>| Tensor::from_vec(values, (1, self.groups, 1), x.device());
        let mean = by_group(moments.mean.iter().map(|mean| *mean as f32).collect())?;
        let inverse = by_group(moments.variance.iter().map(|v| (1.0 / (v + self.eps).sqrt()) as f32).collect())?;
        let grouped = x.to_dtype(DType::F32)?.contiguous()?.reshape((batch, self.groups, ()))?;
        let normed = grouped.broadcast_sub(&mean)?.broadcast_mul(&inverse)?;
        let normed = normed.reshape((batch, channels, height, width))?.to_dtype(x.dtype())?;
        let of_channel = |values: &Tensor| values.reshape((1, channels, 1, 1));
        Ok(normed.broadcast_mul(&of_channel(&self.weight)?)?.broadcast_add(&of_channel(&self.bias)?)?)
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
