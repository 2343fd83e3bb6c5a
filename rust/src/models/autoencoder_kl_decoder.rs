//! The second half of the variational autoencoder (Rombach et al. 2022), after diffusers' `AutoencoderKL`.

use candle_core::Tensor;

use super::VaeDecoder;
use super::autoencoder_kl_blocks::{Level, MidBlock, NORM_EPS};
use super::autoencoder_kl_config::AutoencoderKlConfig;
use super::resnet::Upsample2D;
use super::tiles::Tiles;
use crate::error::Result;
use crate::nn::{Conv2d, Conv2dConfig, GroupNorm, GroupStatistics, Weights};
use crate::progress::CancelToken;

/// From latents to pixels.
pub struct AutoencoderKlDecoder {
    post_quant_conv: Option<Conv2d>,
    conv_in: Conv2d,
    mid_block: MidBlock,
    levels: Vec<Level<Upsample2D>>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    tiles: Vec<Tiles>,
}

impl AutoencoderKlDecoder {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderKlConfig) -> Result<Self> {
        let latents = config.latent_channels;
        let pointwise = Conv2dConfig::pointwise(latents, latents);
        let post_quant_conv =
            config.use_post_quant_conv.then(|| Conv2d::new(&weights.pp("post_quant_conv"), pointwise)).transpose()?;
        let weights = weights.pp("decoder");
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut levels = Vec::with_capacity(channels.len());
        let mut inputs = last;
        for (index, outputs) in channels.iter().rev().copied().enumerate() {
            let weights = weights.pp("up_blocks").pp(index);
            let layers = config.layers_per_block + 1;
            let resnets = Level::<Upsample2D>::resnets(&weights, layers, inputs, outputs, config)?;
            let resample = (index + 1 < channels.len())
                .then(|| Upsample2D::new(&weights.pp("upsamplers.0"), outputs, None))
                .transpose()?;
            levels.push(Level { resnets, resample });
            inputs = outputs;
        }
        Ok(Self {
            post_quant_conv,
            conv_in: Conv2d::new(&weights.pp("conv_in"), Conv2dConfig::same3x3(latents, last))?,
            mid_block: MidBlock::new(&weights.pp("mid_block"), last, config)?,
            levels,
            conv_norm_out: GroupNorm::new(&weights.pp("conv_norm_out"), config.norm_num_groups, first, NORM_EPS)?,
            conv_out: Conv2d::new(&weights.pp("conv_out"), Conv2dConfig::same3x3(first, config.out_channels))?,
            tiles: config.decoder_tiles(),
        })
    }

    /// One level, what is between it and the level before, and after the last what makes pixels.
    fn level(
        &self,
        index: usize,
        mut x: Tensor,
        statistics: &mut GroupStatistics,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        if let Some(upsample) = index.checked_sub(1).and_then(|before| self.levels[before].resample.as_ref()) {
            x = upsample.forward(&x, None)?;
        }
        x = self.levels[index].forward(x, statistics, cancel)?;
        if index + 1 < self.levels.len() || statistics.has_measured() {
            return Ok(x);
        }
        x = statistics.forward_silu_in_place(&self.conv_norm_out, x)?;
        if statistics.has_measured() { Ok(x) } else { self.conv_out.forward(&x) }
    }

    fn norms(&self, index: usize) -> usize {
        self.levels[index].norms() + usize::from(index + 1 == self.levels.len())
    }

    /// `tiled` are the last levels'.
    fn forward(&self, latents: &Tensor, tiled: &[Tiles], cancel: &CancelToken) -> Result<Tensor> {
        let whole = self.levels.len() - tiled.len();
        let mut x = match &self.post_quant_conv {
            Some(conv) => self.conv_in.forward(&conv.forward(latents)?)?,
            None => self.conv_in.forward(latents)?,
        };
        x = self.mid_block.forward(&x, cancel)?;
        for index in 0..self.levels.len() {
            let level = |x: Tensor, statistics: &mut GroupStatistics| self.level(index, x, statistics, cancel);
            x = match index.checked_sub(whole).and_then(|index| tiled.get(index)) {
                Some(tiles) => tiles.run_normed(&x, self.norms(index), &level)?,
                None => level(x, &mut GroupStatistics::own())?,
            };
        }
        Ok(x)
    }
}

impl VaeDecoder for AutoencoderKlDecoder {
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        self.forward(latents, &[], cancel)
    }

    fn decode_tiled(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        self.forward(latents, &self.tiles, cancel)
    }
}
