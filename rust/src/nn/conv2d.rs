use candle_core::Tensor;

use super::Linear;
use super::cpu::{self, Conv2dExtras, Conv2dGeometry, Method, channels_first, channels_last};
use super::layout::joined;
use super::weights::Weights;
use crate::error::Result;

/// Geometry of a [`Conv2d`].
pub use super::cpu::Conv2dGeometry as Conv2dConfig;

impl Conv2dGeometry {
    /// A 3x3 convolution that keeps the size.
    pub fn same3x3(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, kernel: 3, stride: 1, padding: (1, 1), side: None }
    }

    /// The same for feature maps that have this height and width at the model's own size.
    #[must_use]
    pub fn at(self, side: Option<usize>) -> Self {
        Self { side, ..self }
    }

    /// A 1x1 convolution.
    pub fn pointwise(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, kernel: 1, stride: 1, padding: (0, 0), side: None }
    }

    /// A 3x3 convolution that halves the size.
    pub fn down3x3(inputs: usize, outputs: usize, padding: (usize, usize)) -> Self {
        Self { inputs, outputs, kernel: 3, stride: 2, padding, side: None }
    }
}

/// Two-dimensional convolution with zero padding.
pub struct Conv2d(Kernel);

enum Kernel {
    Cpu(cpu::Conv2d),
    Candle { weight: Tensor, bias: Tensor, config: Conv2dConfig },
}

impl Conv2d {
    /// Takes `weight` (outputs, inputs, kernel, kernel) and `bias` (outputs).
    pub fn new(weights: &Weights, config: Conv2dConfig) -> Result<Self> {
        Self::build(weights, config, true)
    }

    /// Takes `weight` alone.
    pub fn without_bias(weights: &Weights, config: Conv2dConfig) -> Result<Self> {
        Self::build(weights, config, false)
    }

    fn build(weights: &Weights, config: Conv2dConfig, has_bias: bool) -> Result<Self> {
        let Conv2dConfig { inputs, outputs, kernel, .. } = config;
        let stored = if kernel == 1 { vec![outputs, inputs] } else { vec![outputs, inputs, kernel, kernel] };
        let weight = weights.get_reshaped(&[outputs, inputs, kernel, kernel], &stored, "weight")?;
        let bias = match has_bias {
            true => weights.get(&[outputs], "bias")?,
            false => Tensor::zeros(outputs, weight.dtype(), weight.device())?,
        };
        let packed = weights.pack(&weight, |products, values| {
            let packed =
                cpu::Conv2d::new(products.of_floats(), config, values, &cpu::Values::of(&bias)?, Method::Auto)?;
            let bytes = packed.bytes();
            Ok((packed, bytes))
        })?;
        Ok(Self(packed.map_or_else(|| Kernel::Candle { weight, bias, config }, Kernel::Cpu)))
    }

    /// (batch, inputs, h, w) to (batch, outputs, h', w').
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, Conv2dExtras::default())
    }

    /// [`Conv2d::forward`] plus `shift` (1 or batch, outputs) at every pixel.
    pub fn forward_shifted(&self, x: &Tensor, shift: &Tensor) -> Result<Tensor> {
        self.run(x, Conv2dExtras { shift: Some(shift), ..Default::default() })
    }

    /// [`Conv2d::forward`] plus `residual` (batch, outputs, h', w').
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.run(x, Conv2dExtras { residual: Some(residual), ..Default::default() })
    }

    /// [`Conv2d::forward`] of `x` upsampled to twice its size, each pixel to four, and cut to `size` (height, width),
    /// which is that or one less.
    pub fn forward_upsampled(&self, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        self.run(x, Conv2dExtras { upsampled: Some(size), ..Default::default() })
    }

    fn run(&self, x: &Tensor, extras: Conv2dExtras<'_>) -> Result<Tensor> {
        match &self.0 {
            Kernel::Cpu(conv) => {
                let residual = extras.residual.map(channels_last).transpose()?;
                let extras = Conv2dExtras { residual: residual.as_ref(), ..extras };
                channels_first(&conv.forward(&channels_last(x)?, extras)?)
            }
            Kernel::Candle { weight, bias, config } => by_candle(x, weight, bias, config, extras),
        }
    }
}

fn by_candle(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    config: &Conv2dConfig,
    extras: Conv2dExtras<'_>,
) -> Result<Tensor> {
    let Conv2dConfig { stride, padding: (before, after), .. } = *config;
    let mut x = x.contiguous()?;
    if let Some((height, width)) = extras.upsampled {
        let (_, _, h, w) = x.dims4()?;
        x = x.upsample_nearest2d(2 * h, 2 * w)?.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?;
    }
    let y = if before == after {
        x.conv2d(weight, before, stride, 1, 1)?
    } else {
        let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
        padded.conv2d(weight, 0, stride, 1, 1)?
    };
    let mut y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    if let Some(shift) = extras.shift {
        y = y.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?)?;
    }
    Ok(match extras.residual {
        Some(residual) => (y + residual)?,
        None => y,
    })
}

/// A 1x1 convolution whose input may be several feature maps joined along their channels.
pub struct PointwiseConv2d(Linear);

impl PointwiseConv2d {
    /// Takes `weight` (outputs, inputs, 1, 1), also where it is stored as a linear layer, and `bias` (outputs).
    pub fn new(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self(Linear::new(weights, inputs, outputs)?))
    }

    /// (batch, channels of each input, h, w) to (batch, outputs, h, w).
    pub fn forward_joined(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let rows = inputs.iter().map(|input| channels_last(input)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<&Tensor> = rows.iter().collect();
        let y = channels_first(&self.0.forward_joined(&rows, None)?)?;
        Ok(if y.device().is_cpu() { y } else { y.contiguous()? })
    }
}

/// The inputs' feature maps joined along their channels, for layers that read one.
pub(super) fn joined_channels(inputs: &[&Tensor]) -> Result<Tensor> {
    joined(inputs, 1)
}
