//! Transformer blocks of the UNet, after diffusers' `Transformer2DModel` and `BasicTransformerBlock`.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{AttentionShape, Conv2d, Conv2dConfig, GroupNorm, LayerNorm, Linear, Weights, attention, geglu};

/// Shape of a [`Transformer2DModel`].
#[derive(Debug, Clone, Copy)]
pub struct TransformerConfig {
    /// Channels in and out.
    pub channels: usize,
    /// Number of heads; divides the channels.
    pub heads: usize,
    /// Number of [`BasicTransformerBlock`]s.
    pub layers: usize,
    /// Width of the text embeddings.
    pub cross_attention_dim: usize,
    /// Projections in and out are linear layers behind the change of layout, not 1x1 convolutions before it.
    pub use_linear_projection: bool,
    /// Groups of the norm.
    pub groups: usize,
}

struct CrossAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    shape: AttentionShape,
}

impl CrossAttention {
    fn new(weights: &Weights, width: usize, context: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::without_bias(&weights.pp("to_q"), width, width)?,
            to_k: Linear::without_bias(&weights.pp("to_k"), context, width)?,
            to_v: Linear::without_bias(&weights.pp("to_v"), context, width)?,
            to_out: Linear::new(&weights.pp("to_out.0"), width, width)?,
            shape: AttentionShape { heads, causal: false },
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (k, v) = (self.to_k.forward(context)?, self.to_v.forward(context)?);
        self.to_out.forward(&attention(&self.to_q.forward(x)?, &k, &v, self.shape)?)
    }
}

struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: CrossAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
}

impl BasicTransformerBlock {
    fn new(weights: &Weights, config: TransformerConfig) -> Result<Self> {
        let TransformerConfig { channels: width, heads, cross_attention_dim: context, .. } = config;
        let norm = |name: &str| LayerNorm::new(&weights.pp(name), width, 1e-5);
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: CrossAttention::new(&weights.pp("attn1"), width, width, heads)?,
            norm2: norm("norm2")?,
            attn2: CrossAttention::new(&weights.pp("attn2"), width, context, heads)?,
            norm3: norm("norm3")?,
            ff_in: Linear::new(&weights.pp("ff.net.0.proj"), width, 8 * width)?,
            ff_out: Linear::new(&weights.pp("ff.net.2"), 4 * width, width)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let h = self.norm1.forward(x)?;
        let x = (x + self.attn1.forward(&h, &h)?)?;
        let x = (&x + self.attn2.forward(&self.norm2.forward(&x)?, context)?)?;
        let h = geglu(&self.ff_in.forward(&self.norm3.forward(&x)?)?)?;
        Ok((&x + self.ff_out.forward(&h)?)?)
    }
}

enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(weights: &Weights, config: TransformerConfig) -> Result<Self> {
        let channels = config.channels;
        if config.use_linear_projection {
            Ok(Self::Linear(Linear::new(weights, channels, channels)?))
        } else {
            Ok(Self::Conv(Conv2d::new(weights, Conv2dConfig::pointwise(channels, channels))?))
        }
    }
}

/// Self-attention, cross-attention and a gated feed-forward layer over the positions of a feature map.
pub struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<BasicTransformerBlock>,
    proj_out: Projection,
}

impl Transformer2DModel {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: TransformerConfig) -> Result<Self> {
        let blocks = weights.pp("transformer_blocks");
        Ok(Self {
            norm: GroupNorm::new(&weights.pp("norm"), config.groups, config.channels, 1e-6)?,
            proj_in: Projection::new(&weights.pp("proj_in"), config)?,
            blocks: (0..config.layers)
                .map(|index| BasicTransformerBlock::new(&blocks.pp(index), config))
                .collect::<Result<_>>()?,
            proj_out: Projection::new(&weights.pp("proj_out"), config)?,
        })
    }

    /// (batch, channels, h, w) and text embeddings (batch, tokens, width) to (batch, channels, h, w).
    pub fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let to_sequence = |x: Tensor| x.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let to_map = |x: Tensor| x.transpose(1, 2)?.contiguous()?.reshape((batch, channels, height, width));
        let h = self.norm.forward(x)?;
        let mut h = match &self.proj_in {
            Projection::Conv(conv) => to_sequence(conv.forward(&h)?)?,
            Projection::Linear(linear) => linear.forward(&to_sequence(h)?)?,
        };
        for block in &self.blocks {
            h = block.forward(&h, context)?;
        }
        let h = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(&to_map(h)?)?,
            Projection::Linear(linear) => to_map(linear.forward(&h)?)?,
        };
        Ok((h + x)?)
    }
}
