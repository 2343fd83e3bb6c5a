//! Transformer blocks of the UNet, after diffusers' `Transformer2DModel` and `BasicTransformerBlock`.

use candle_core::Tensor;

use super::conditioning::{Conditioning, LayerId};
use crate::error::Result;
use crate::nn::{Attention, Geglu, GroupNorm, LayerNorm, Linear, Weights, to_feature_map, to_sequence};

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
    /// Groups of the norm.
    pub groups: usize,
}

struct CrossAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    attention: Attention,
    id: LayerId,
}

impl CrossAttention {
    fn new(weights: &Weights, width: usize, context: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::without_bias(&weights.pp("to_q"), width, width)?,
            to_k: Linear::without_bias(&weights.pp("to_k"), context, width)?,
            to_v: Linear::without_bias(&weights.pp("to_v"), context, width)?,
            to_out: Linear::new(&weights.pp("to_out.0"), width, width)?,
            attention: Attention::new(weights, heads, false),
            id: LayerId::next(),
        })
    }

    fn keys_and_values(&self, context: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.to_k.forward(context)?, self.to_v.forward(context)?))
    }

    /// The attention of `x` to keys and values, added to `residual`.
    fn forward(&self, x: &Tensor, (k, v): (Tensor, Tensor), residual: &Tensor) -> Result<Tensor> {
        let mixed = self.attention.forward(&self.to_q.forward(x)?, &k, &v)?;
        self.to_out.forward_add(&mixed, residual)
    }
}

struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: CrossAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff_in: Geglu,
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
            ff_in: Geglu::new(&weights.pp("ff.net.0.proj"), width, 4 * width)?,
            ff_out: Linear::new(&weights.pp("ff.net.2"), 4 * width, width)?,
        })
    }

    fn forward(&self, x: &Tensor, text: &Conditioning) -> Result<Tensor> {
        let h = self.norm1.forward(x)?;
        let x = self.attn1.forward(&h, self.attn1.keys_and_values(&h)?, x)?;
        let of_text = text.projections.of(self.attn2.id, || self.attn2.keys_and_values(&text.embeddings))?;
        let x = self.attn2.forward(&self.norm2.forward(&x)?, of_text, &x)?;
        self.ff_out.forward_add(&self.ff_in.forward(&self.norm3.forward(&x)?)?, &x)
    }
}

/// Self-attention, cross-attention and a gated feed-forward layer over the positions of a feature map.
pub struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<BasicTransformerBlock>,
    proj_out: Linear,
}

impl Transformer2DModel {
    /// Takes the tensors under diffusers' names; the projections are linear layers or 1x1 convolutions, which is the same.
    pub fn new(weights: &Weights, config: TransformerConfig) -> Result<Self> {
        let projection = |name: &str| Linear::new(&weights.pp(name), config.channels, config.channels);
        let blocks = weights.pp("transformer_blocks");
        Ok(Self {
            norm: GroupNorm::new(&weights.pp("norm"), config.groups, config.channels, 1e-6)?,
            proj_in: projection("proj_in")?,
            blocks: (0..config.layers)
                .map(|index| BasicTransformerBlock::new(&blocks.pp(index), config))
                .collect::<Result<_>>()?,
            proj_out: projection("proj_out")?,
        })
    }

    /// (batch, channels, h, w) and a text of the same batch to (batch, channels, h, w).
    pub fn forward(&self, x: &Tensor, text: &Conditioning) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let mut h = self.proj_in.forward(&to_sequence(&self.norm.forward(x)?)?)?;
        for block in &self.blocks {
            h = block.forward(&h, text)?;
        }
        to_feature_map(&self.proj_out.forward_add(&h, &to_sequence(x)?)?, height, width)
    }
}
