//! The UNet's levels, after diffusers' `CrossAttnDownBlock2D`, `DownBlock2D`, their mirror and `UNetMidBlock2DCrossAttn`.

use std::ops::Range;

use candle_core::Tensor;

use super::conditioning::Conditioning;
use super::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use super::transformer::Transformer2DModel;
use super::unet_config::{UNet2DConditionConfig, UNetBlockKind};
use crate::error::Result;
use crate::nn::Weights;
use crate::progress::CancelToken;

/// What every block of one forward pass sees beside its input.
pub struct Conditions<'a> {
    /// (1 or batch, width)
    pub time_embedding: &'a Tensor,
    pub text: &'a Conditioning,
    pub cancel: &'a CancelToken,
}

struct Layer {
    resnet: ResnetBlock2D,
    transformer: Option<Transformer2DModel>,
}

impl Layer {
    fn forward(&self, inputs: &[&Tensor], conditions: &Conditions<'_>) -> Result<Tensor> {
        conditions.cancel.check()?;
        let x = self.resnet.forward(inputs, Some(conditions.time_embedding))?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, conditions.text),
            None => Ok(x),
        }
    }
}

fn layer(
    weights: &Weights,
    index: usize,
    level: usize,
    inputs: usize,
    kind: UNetBlockKind,
    config: &UNet2DConditionConfig,
) -> Result<Layer> {
    let resnet = resnet(config, level, inputs);
    let attention = weights.pp("attentions").pp(index);
    Ok(Layer {
        resnet: ResnetBlock2D::new(&weights.pp("resnets").pp(index), resnet)?,
        transformer: (kind == UNetBlockKind::CrossAttention)
            .then(|| Transformer2DModel::new(&attention, config.transformer(level)))
            .transpose()?,
    })
}

fn resnet(config: &UNet2DConditionConfig, level: usize, inputs: usize) -> ResnetConfig {
    ResnetConfig {
        inputs,
        outputs: config.block_out_channels[level],
        time_embedding: Some(config.time_embed_dim()),
        groups: config.norm_num_groups,
        eps: config.norm_eps,
        side: Some(config.side(level)),
    }
}

/// One level on the way down.
pub struct DownBlock {
    layers: Vec<Layer>,
    downsampler: Option<Downsample2D>,
}

impl DownBlock {
    pub fn new(weights: &Weights, level: usize, config: &UNet2DConditionConfig) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (before, outputs) = (channels[level.saturating_sub(1)], channels[level]);
        let kind = config.down_block_types[level];
        let padding = (config.downsample_padding, config.downsample_padding);
        Ok(Self {
            layers: (0..config.layers_per_block[level])
                .map(|index| layer(weights, index, level, if index == 0 { before } else { outputs }, kind, config))
                .collect::<Result<_>>()?,
            downsampler: (level + 1 < channels.len())
                .then(|| Downsample2D::new(&weights.pp("downsamplers.0"), outputs, padding))
                .transpose()?,
        })
    }

    /// Appends every intermediate result to `skips`, and stops where these are `limit`.
    pub fn forward(
        &self,
        mut x: Tensor,
        conditions: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
        limit: usize,
    ) -> Result<Tensor> {
        for layer in &self.layers {
            if skips.len() == limit {
                return Ok(x);
            }
            x = layer.forward(&[&x], conditions)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = self.downsampler.as_ref().filter(|_| skips.len() < limit) {
            x = downsampler.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// The innermost block.
pub struct MidBlock {
    first: Layer,
    second: ResnetBlock2D,
}

impl MidBlock {
    pub fn new(weights: &Weights, config: &UNet2DConditionConfig) -> Result<Self> {
        let level = config.block_out_channels.len() - 1;
        let channels = config.block_out_channels[level];
        Ok(Self {
            first: layer(weights, 0, level, channels, UNetBlockKind::CrossAttention, config)?,
            second: ResnetBlock2D::new(&weights.pp("resnets.1"), resnet(config, level, channels))?,
        })
    }

    pub fn forward(&self, x: &Tensor, conditions: &Conditions<'_>) -> Result<Tensor> {
        let x = self.first.forward(&[x], conditions)?;
        conditions.cancel.check()?;
        self.second.forward(&[&x], Some(conditions.time_embedding))
    }
}

/// One level on the way up.
pub struct UpBlock {
    layers: Vec<Layer>,
    upsampler: Option<Upsample2D>,
}

impl UpBlock {
    /// `index` counts from the innermost level.
    pub fn new(weights: &Weights, index: usize, config: &UNet2DConditionConfig) -> Result<Self> {
        let channels = &config.block_out_channels;
        let level = channels.len() - 1 - index;
        let outputs = channels[level];
        let inner = channels[(level + 1).min(channels.len() - 1)];
        let outer = channels[level.saturating_sub(1)];
        let count = config.layers_per_block[level] + 1;
        let kind = config.up_block_types[index];
        Ok(Self {
            layers: (0..count)
                .map(|i| {
                    let skip = if i + 1 == count { outer } else { outputs };
                    let below = if i == 0 { inner } else { outputs };
                    layer(weights, i, level, below + skip, kind, config)
                })
                .collect::<Result<_>>()?,
            upsampler: (level > 0)
                .then(|| Upsample2D::new(&weights.pp("upsamplers.0"), outputs, Some(config.side(level - 1))))
                .transpose()?,
        })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Runs `layers` of its own, and the upsampler behind the last; takes skip connections from the end of `skips`.
    pub fn forward(
        &self,
        mut x: Tensor,
        layers: Range<usize>,
        conditions: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let upsampler = self.upsampler.as_ref().filter(|_| layers.end == self.layers.len());
        for layer in &self.layers[layers] {
            x = match skips.pop() {
                Some(skip) => layer.forward(&[&x, &skip], conditions)?,
                None => layer.forward(&[&x], conditions)?,
            };
        }
        if let Some(upsampler) = upsampler {
            let next = skips.last().map(|skip| skip.dims4()).transpose()?;
            x = upsampler.forward(&x, next.map(|(_, _, height, width)| (height, width)))?;
        }
        Ok(x)
    }
}
