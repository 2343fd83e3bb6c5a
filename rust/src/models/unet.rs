//! The denoising network (Rombach et al. 2022), after diffusers' `UNet2DConditionModel`.

use std::ops::Range;

use candle_core::Tensor;

use super::text_time::TextTimeEmbedding;
use super::unet_blocks::{Conditions, DownBlock, MidBlock, UpBlock};
use super::unet_config::{UNet2DConditionConfig, UNetMidKind};
use super::{Conditioning, DeepFeatures, Denoiser};
use crate::error::Result;
use crate::nn::{Conv2d, Conv2dConfig, GroupNorm, TimeEmbedding, TimestepEmbedding, Weights};
use crate::progress::CancelToken;

/// The UNet of Stable Diffusion.
pub struct UNet2DConditionModel {
    time_proj: TimeEmbedding,
    time_embedding: TimestepEmbedding,
    add_embedding: Option<TextTimeEmbedding>,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet2DConditionModel {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &UNet2DConditionConfig) -> Result<Self> {
        let first = config.block_out_channels[0];
        let levels = 0..config.block_out_channels.len();
        Ok(Self {
            time_proj: config.sinusoids(first),
            time_embedding: TimestepEmbedding::new(&weights.pp("time_embedding"), first, config.time_embed_dim())?,
            add_embedding: config
                .addition_embed
                .map(|added| TextTimeEmbedding::new(weights, config, added))
                .transpose()?,
            conv_in: Conv2d::new(&weights.pp("conv_in"), Conv2dConfig::same3x3(config.in_channels, first))?,
            down_blocks: levels
                .clone()
                .map(|level| DownBlock::new(&weights.pp("down_blocks").pp(level), level, config))
                .collect::<Result<_>>()?,
            mid_block: (config.mid_block_type == UNetMidKind::CrossAttention)
                .then(|| MidBlock::new(&weights.pp("mid_block"), config))
                .transpose()?,
            up_blocks: levels
                .map(|index| UpBlock::new(&weights.pp("up_blocks").pp(index), index, config))
                .collect::<Result<_>>()?,
            conv_norm_out: GroupNorm::new(
                &weights.pp("conv_norm_out"),
                config.norm_num_groups,
                first,
                config.norm_eps,
            )?,
            conv_out: Conv2d::new(&weights.pp("conv_out"), Conv2dConfig::same3x3(first, config.out_channels))?,
        })
    }
}

impl UNet2DConditionModel {
    /// With `features` the deep half runs only where they hold nothing.
    fn forward(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        features: Option<&mut DeepFeatures>,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        let sinusoids = self.time_proj.forward(&[timestep], sample.device())?;
        let mut time_embedding = self.time_embedding.forward(&sinusoids, sample.dtype())?;
        if let Some(add_embedding) = &self.add_embedding {
            time_embedding =
                add_embedding.forward(conditions.added.as_ref(), sample.dtype())?.broadcast_add(&time_embedding)?;
        }
        let conditions = Conditions { time_embedding: &time_embedding, text: conditions, cancel };
        let layers = self.up_blocks.iter().map(UpBlock::layers).sum::<usize>();
        // Each layer on the way up has the skip connection of one on the way down.
        let shallow = features.as_ref().map_or(layers, |features| features.branch() + 1);
        let from = layers.saturating_sub(shallow);
        let kept = features.as_ref().and_then(|features| features.kept().cloned());
        let mut skips = Vec::with_capacity(layers);
        let x = self.down(sample, &conditions, &mut skips, if kept.is_some() { shallow } else { layers })?;
        let x = match (kept, features) {
            (Some(kept), _) => kept,
            (None, None) => self.middle(x, &conditions)?,
            (None, Some(features)) => {
                let x = self.up(self.middle(x, &conditions)?, 0..from, &conditions, &mut skips)?;
                features.keep(&x);
                x
            }
        };
        let x = self.up(x, from..layers, &conditions, &mut skips)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&[&x])?)
    }

    /// The way down until there are `limit` skip connections.
    fn down(
        &self,
        sample: &Tensor,
        conditions: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
        limit: usize,
    ) -> Result<Tensor> {
        let mut x = self.conv_in.forward(sample)?;
        skips.push(x.clone());
        for block in &self.down_blocks {
            x = block.forward(x, conditions, skips, limit)?;
        }
        Ok(x)
    }

    fn middle(&self, x: Tensor, conditions: &Conditions<'_>) -> Result<Tensor> {
        match &self.mid_block {
            Some(block) => block.forward(&x, conditions),
            None => Ok(x),
        }
    }

    /// The way up through `layers`, counted over all blocks from the innermost on.
    fn up(
        &self,
        mut x: Tensor,
        layers: Range<usize>,
        conditions: &Conditions<'_>,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut first = 0;
        for block in &self.up_blocks {
            let end = first + block.layers();
            let own = layers.start.clamp(first, end) - first..layers.end.clamp(first, end) - first;
            if !own.is_empty() {
                x = block.forward(x, own, conditions, skips)?;
            }
            first = end;
        }
        Ok(x)
    }
}

impl Denoiser for UNet2DConditionModel {
    fn predict(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        self.forward(sample, timestep, conditions, None, cancel)
    }

    fn predict_cached(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        features: &mut DeepFeatures,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        self.forward(sample, timestep, conditions, Some(features), cancel)
    }
}
