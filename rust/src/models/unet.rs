//! The denoising network (Rombach et al. 2022), after diffusers' `UNet2DConditionModel`.

use candle_core::Tensor;

use super::Denoiser;
use super::unet_blocks::{Conditions, DownBlock, MidBlock, UpBlock};
use super::unet_config::{UNet2DConditionConfig, UNetMidKind};
use crate::error::Result;
use crate::nn::{Conv2d, Conv2dConfig, GroupNorm, TimeEmbedding, TimestepEmbedding, Weights};
use crate::progress::CancelToken;

/// The UNet of Stable Diffusion 1 and 2.
pub struct UNet2DConditionModel {
    time_proj: TimeEmbedding,
    time_embedding: TimestepEmbedding,
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
            time_proj: TimeEmbedding {
                width: first,
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
            },
            time_embedding: TimestepEmbedding::new(&weights.pp("time_embedding"), first, config.time_embed_dim())?,
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

impl Denoiser for UNet2DConditionModel {
    fn predict(&self, sample: &Tensor, timestep: f64, embeddings: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let sinusoids = self.time_proj.forward(timestep, sample.device())?;
        let conditions = Conditions {
            time_embedding: &self.time_embedding.forward(&sinusoids, sample.dtype())?,
            text_embeddings: embeddings,
            cancel,
        };
        let mut x = self.conv_in.forward(sample)?;
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &conditions, &mut skips)?;
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(&x, &conditions)?;
        }
        for block in &self.up_blocks {
            x = block.forward(x, &conditions, &mut skips)?;
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&[&x])?)
    }
}
