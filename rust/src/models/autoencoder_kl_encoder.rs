//! The first half of the variational autoencoder (Rombach et al. 2022), after diffusers' `AutoencoderKL`.

use candle_core::Tensor;

use super::autoencoder_kl_blocks::{Level, MidBlock, NORM_EPS};
use super::autoencoder_kl_config::AutoencoderKlConfig;
use super::resnet::Downsample2D;
use super::tiles::Tiles;
use super::{Posterior, VaeEncoder};
use crate::error::Result;
use crate::nn::{Conv2d, Conv2dConfig, GroupNorm, GroupStatistics, Weights};
use crate::progress::CancelToken;

/// From pixels to the posterior over latents.
pub struct AutoencoderKlEncoder {
    conv_in: Conv2d,
    levels: Vec<Level<Downsample2D>>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Option<Conv2d>,
    tiles: Vec<Tiles>,
}

impl AutoencoderKlEncoder {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderKlConfig) -> Result<Self> {
        let moments = 2 * config.latent_channels;
        let pointwise = Conv2dConfig::pointwise(moments, moments);
        let quant_conv =
            config.use_quant_conv.then(|| Conv2d::new(&weights.pp("quant_conv"), pointwise)).transpose()?;
        let weights = weights.pp("encoder");
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut levels = Vec::with_capacity(channels.len());
        let mut inputs = first;
        for (index, outputs) in channels.iter().copied().enumerate() {
            let weights = weights.pp("down_blocks").pp(index);
            let resnets = Level::<Downsample2D>::resnets(&weights, config.layers_per_block, inputs, outputs, config)?;
            let resample = (index + 1 < channels.len())
                .then(|| Downsample2D::new(&weights.pp("downsamplers.0"), outputs, (0, 1)))
                .transpose()?;
            levels.push(Level { resnets, resample });
            inputs = outputs;
        }
        Ok(Self {
            conv_in: Conv2d::new(&weights.pp("conv_in"), Conv2dConfig::same3x3(config.in_channels, first))?,
            levels,
            mid_block: MidBlock::new(&weights.pp("mid_block"), last, config)?,
            conv_norm_out: GroupNorm::new(&weights.pp("conv_norm_out"), config.norm_num_groups, last, NORM_EPS)?,
            conv_out: Conv2d::new(&weights.pp("conv_out"), Conv2dConfig::same3x3(last, moments))?,
            quant_conv,
            tiles: config.encoder_tiles(),
        })
    }

    /// One level, and of the first also what is before it.
    fn level(
        &self,
        index: usize,
        mut x: Tensor,
        statistics: &mut GroupStatistics,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        if index == 0 {
            x = self.conv_in.forward(&x)?;
        }
        let level = &self.levels[index];
        x = level.forward(x, statistics, cancel)?;
        match &level.resample {
            Some(downsample) if !statistics.has_measured() => downsample.forward(&x),
            _ => Ok(x),
        }
    }

    /// `tiled` are the first levels'.
    fn forward(&self, pixels: &Tensor, tiled: &[Tiles], cancel: &CancelToken) -> Result<Posterior> {
        let mut x = pixels.clone();
        for index in 0..self.levels.len() {
            let level = |x: Tensor, statistics: &mut GroupStatistics| self.level(index, x, statistics, cancel);
            x = match tiled.get(index) {
                Some(tiles) => tiles.run_normed(&x, self.levels[index].norms(), &level)?,
                None => level(x, &mut GroupStatistics::own())?,
            };
        }
        x = self.mid_block.forward(&x, cancel)?;
        let mut moments = self.conv_out.forward(&self.conv_norm_out.forward_silu_in_place(x)?)?;
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(&moments)?;
        }
        Posterior::from_moments(&moments)
    }
}

impl VaeEncoder for AutoencoderKlEncoder {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        self.forward(pixels, &[], cancel)
    }

    fn encode_tiled(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        self.forward(pixels, &self.tiles, cancel)
    }
}
