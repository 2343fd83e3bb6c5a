//! Blocks that the UNet and the VAE share, after diffusers' `ResnetBlock2D`, `Downsample2D` and `Upsample2D`.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{Activation, Conv2d, Conv2dConfig, GroupNorm, Linear, PointwiseConv2d, Weights};

/// Shape of a [`ResnetBlock2D`].
#[derive(Debug, Clone, Copy)]
pub struct ResnetConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Width of the time embedding; none in the VAE.
    pub time_embedding: Option<usize>,
    /// Groups of both norms.
    pub groups: usize,
    /// Added to the variance in both norms.
    pub eps: f64,
    /// Height and width of the feature maps at the model's own size, where they are known.
    pub side: Option<usize>,
}

/// Two normalised convolutions and a shortcut.
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<PointwiseConv2d>,
}

impl ResnetBlock2D {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: ResnetConfig) -> Result<Self> {
        let ResnetConfig { inputs, outputs, groups, eps, side, .. } = config;
        Ok(Self {
            norm1: GroupNorm::new(&weights.pp("norm1"), groups, inputs, eps)?,
            conv1: Conv2d::new(&weights.pp("conv1"), Conv2dConfig::same3x3(inputs, outputs).at(side))?,
            time_emb_proj: config
                .time_embedding
                .map(|width| Linear::new(&weights.pp("time_emb_proj").exact(), width, outputs))
                .transpose()?,
            norm2: GroupNorm::new(&weights.pp("norm2"), groups, outputs, eps)?,
            conv2: Conv2d::new(&weights.pp("conv2"), Conv2dConfig::same3x3(outputs, outputs).at(side))?,
            conv_shortcut: (inputs != outputs)
                .then(|| PointwiseConv2d::new(&weights.pp("conv_shortcut"), inputs, outputs))
                .transpose()?,
        })
    }

    /// Feature maps (batch, …, h, w) of `inputs` channels together, and the time embedding (1 or batch, width) where there
    /// is one, to (batch, outputs, h, w).
    pub fn forward(&self, inputs: &[&Tensor], time_embedding: Option<&Tensor>) -> Result<Tensor> {
        let h = self.norm1.forward_silu(inputs)?;
        let h = self.middle(h, time_embedding)?;
        match (&self.conv_shortcut, inputs) {
            (Some(shortcut), _) => self.conv2.forward_add(&h, &shortcut.forward_joined(inputs)?),
            (None, [x]) => self.conv2.forward_add(&h, x),
            (None, _) => self.conv2.forward_add(&h, &Tensor::cat(inputs, 1)?),
        }
    }

    /// [`ResnetBlock2D::forward`] of one feature map that nobody else holds, in less memory.
    pub fn forward_owned(&self, x: Tensor) -> Result<Tensor> {
        let Some(shortcut) = &self.conv_shortcut else { return self.forward(&[&x], None) };
        let residual = shortcut.forward_joined(&[&x])?;
        let h = self.middle(self.norm1.forward_silu_in_place(x)?, None)?;
        self.conv2.forward_add(&h, &residual)
    }

    /// From the first convolution to before the second.
    fn middle(&self, h: Tensor, time_embedding: Option<&Tensor>) -> Result<Tensor> {
        let convolved = match (&self.time_emb_proj, time_embedding) {
            (Some(projection), Some(embedding)) => {
                self.conv1.forward_shifted(&h, &projection.forward(&Activation::Silu.forward(embedding)?)?)?
            }
            _ => self.conv1.forward(&h)?,
        };
        drop(h);
        self.norm2.forward_silu_in_place(convolved)
    }
}

/// A convolution that halves the size.
pub struct Downsample2D(Conv2d);

impl Downsample2D {
    /// Takes `conv`; `padding` is before and after.
    pub fn new(weights: &Weights, channels: usize, padding: (usize, usize)) -> Result<Self> {
        Ok(Self(Conv2d::new(&weights.pp("conv"), Conv2dConfig::down3x3(channels, channels, padding))?))
    }

    /// (batch, channels, h, w) to (batch, channels, h/2, w/2), rounded up where the padding is symmetric.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// Nearest-neighbour upsampling and a convolution.
pub struct Upsample2D(Conv2d);

impl Upsample2D {
    /// Takes `conv`; `side` is the height and width of its output at the model's own size, where they are known.
    pub fn new(weights: &Weights, channels: usize, side: Option<usize>) -> Result<Self> {
        Ok(Self(Conv2d::new(&weights.pp("conv"), Conv2dConfig::same3x3(channels, channels).at(side))?))
    }

    /// (batch, channels, h, w) to (batch, channels, 2 h, 2 w), or to `size` (height, width), one less than that or
    /// equal, where a skip connection of odd size waits.
    pub fn forward(&self, x: &Tensor, size: Option<(usize, usize)>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        self.0.forward_upsampled(x, size.unwrap_or((2 * height, 2 * width)))
    }
}
