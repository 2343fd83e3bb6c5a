use candle_core::Tensor;

use super::cpu;
use super::weights::Weights;
use crate::error::Result;

/// Geometry of a [`Conv2d`].
#[derive(Debug, Clone, Copy)]
pub struct Conv2dConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step between the input positions of neighbouring outputs.
    pub stride: usize,
    /// Zeros before the first and after the last row and column.
    pub padding: (usize, usize),
}

impl Conv2dConfig {
    /// A 3x3 convolution that keeps the size.
    pub fn same3x3(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, kernel: 3, stride: 1, padding: (1, 1) }
    }

    /// A 1x1 convolution.
    pub fn pointwise(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, kernel: 1, stride: 1, padding: (0, 0) }
    }

    /// A 3x3 convolution that halves the size.
    pub fn down3x3(inputs: usize, outputs: usize, padding: (usize, usize)) -> Self {
        Self { inputs, outputs, kernel: 3, stride: 2, padding }
    }
}

/// Two-dimensional convolution with bias, zero padding, NCHW.
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    config: Conv2dConfig,
}

impl Conv2d {
    /// Takes `weight` (outputs, inputs, kernel, kernel) and `bias` (outputs).
    pub fn new(weights: &Weights, config: Conv2dConfig) -> Result<Self> {
        let Conv2dConfig { inputs, outputs, kernel, .. } = config;
        let stored = if kernel == 1 { vec![outputs, inputs] } else { vec![outputs, inputs, kernel, kernel] };
        let weight = weights.get_reshaped(&[outputs, inputs, kernel, kernel], &stored, "weight")?;
        Ok(Self { weight, bias: weights.get(&[outputs], "bias")?, config })
    }

    /// (batch, inputs, h, w) to (batch, outputs, h', w').
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Conv2dConfig { stride, padding, .. } = self.config;
        if cpu::takes(x) {
            let op = cpu::Conv2d { stride, padding };
            return Ok(x.contiguous()?.apply_op3_no_bwd(&self.weight, &self.bias, &op)?);
        }
        let (before, after) = padding;
        let y = if before == after {
            x.conv2d(&self.weight, before, stride, 1, 1)?
        } else {
            let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
            padded.conv2d(&self.weight, 0, stride, 1, 1)?
        };
        Ok(y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)?)
    }
}
