//! The variational autoencoder (Rombach et al. 2022), after diffusers' `AutoencoderKL`.

use candle_core::Tensor;

use super::autoencoder_kl_config::AutoencoderKlConfig;
use super::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use super::tiles::Tiles;
use super::{Autoencoder, Posterior};
use crate::error::Result;
use crate::nn::{
    Attention, Conv2d, Conv2dConfig, GroupNorm, GroupStatistics, Linear, Weights, to_feature_map, to_sequence,
};
use crate::progress::CancelToken;

const NORM_EPS: f64 = 1e-6;

impl AutoencoderKlConfig {
    fn resnet(&self, inputs: usize, outputs: usize) -> ResnetConfig {
        ResnetConfig { inputs, outputs, time_embedding: None, groups: self.norm_num_groups, eps: NORM_EPS, side: None }
    }
}

struct AttentionBlock {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    attention: Attention,
}

impl AttentionBlock {
    fn new(weights: &Weights, channels: usize, groups: usize) -> Result<Self> {
        let linear = |name: &str| Linear::new(&weights.pp(name), channels, channels);
        Ok(Self {
            group_norm: GroupNorm::new(&weights.pp("group_norm"), groups, channels, NORM_EPS)?,
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
            attention: Attention::new(weights, 1, false),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let h = to_sequence(&self.group_norm.forward(x)?)?;
        let (q, k, v) = (self.to_q.forward(&h)?, self.to_k.forward(&h)?, self.to_v.forward(&h)?);
        let h = self.attention.forward(&q, &k, &v)?;
        to_feature_map(&self.to_out.forward_add(&h, &to_sequence(x)?)?, height, width)
    }
}

struct MidBlock {
    first: ResnetBlock2D,
    attention: Option<AttentionBlock>,
    second: ResnetBlock2D,
}

impl MidBlock {
    fn new(weights: &Weights, channels: usize, config: &AutoencoderKlConfig) -> Result<Self> {
        let resnet = config.resnet(channels, channels);
        let attention = weights.pp("attentions.0");
        Ok(Self {
            first: ResnetBlock2D::new(&weights.pp("resnets.0"), resnet)?,
            attention: config
                .mid_block_add_attention
                .then(|| AttentionBlock::new(&attention, channels, config.norm_num_groups))
                .transpose()?,
            second: ResnetBlock2D::new(&weights.pp("resnets.1"), resnet)?,
        })
    }

    fn forward(&self, x: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let mut x = self.first.forward(&[x], None)?;
        if let Some(attention) = &self.attention {
            cancel.check()?;
            x = attention.forward(&x)?;
        }
        cancel.check()?;
        self.second.forward(&[&x], None)
    }
}

struct Level<Resample> {
    resnets: Vec<ResnetBlock2D>,
    resample: Option<Resample>,
}

impl<Resample> Level<Resample> {
    fn resnets(
        weights: &Weights,
        layers: usize,
        inputs: usize,
        outputs: usize,
        config: &AutoencoderKlConfig,
    ) -> Result<Vec<ResnetBlock2D>> {
        let resnets = weights.pp("resnets");
        (0..layers)
            .map(|index| {
                let inputs = if index == 0 { inputs } else { outputs };
                ResnetBlock2D::new(&resnets.pp(index), config.resnet(inputs, outputs))
            })
            .collect()
    }

    fn forward(&self, mut x: Tensor, statistics: &mut GroupStatistics, cancel: &CancelToken) -> Result<Tensor> {
        for resnet in &self.resnets {
            cancel.check()?;
            x = resnet.forward_owned(x, statistics)?;
            if statistics.has_measured() {
                break;
            }
        }
        cancel.check()?;
        Ok(x)
    }

    fn norms(&self) -> usize {
        2 * self.resnets.len()
    }
}

struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level<Downsample2D>>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(weights: &Weights, config: &AutoencoderKlConfig) -> Result<Self> {
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
        let out = Conv2dConfig::same3x3(last, 2 * config.latent_channels);
        Ok(Self {
            conv_in: Conv2d::new(&weights.pp("conv_in"), Conv2dConfig::same3x3(config.in_channels, first))?,
            levels,
            mid_block: MidBlock::new(&weights.pp("mid_block"), last, config)?,
            conv_norm_out: GroupNorm::new(&weights.pp("conv_norm_out"), config.norm_num_groups, last, NORM_EPS)?,
            conv_out: Conv2d::new(&weights.pp("conv_out"), out)?,
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

    fn forward(&self, pixels: &Tensor, tiled: Option<&[Tiles]>, cancel: &CancelToken) -> Result<Tensor> {
        let mut x = pixels.clone();
        for index in 0..self.levels.len() {
            let level = |x: Tensor, statistics: &mut GroupStatistics| self.level(index, x, statistics, cancel);
            x = match tiled.and_then(|tiles| tiles.get(index)) {
                Some(tiles) => tiles.run_normed(&x, self.levels[index].norms(), &level)?,
                None => level(x, &mut GroupStatistics::own())?,
            };
        }
        x = self.mid_block.forward(&x, cancel)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu_in_place(x)?)
    }
}

struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    levels: Vec<Level<Upsample2D>>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(weights: &Weights, config: &AutoencoderKlConfig) -> Result<Self> {
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
            conv_in: Conv2d::new(&weights.pp("conv_in"), Conv2dConfig::same3x3(config.latent_channels, last))?,
            mid_block: MidBlock::new(&weights.pp("mid_block"), last, config)?,
            levels,
            conv_norm_out: GroupNorm::new(&weights.pp("conv_norm_out"), config.norm_num_groups, first, NORM_EPS)?,
            conv_out: Conv2d::new(&weights.pp("conv_out"), Conv2dConfig::same3x3(first, config.out_channels))?,
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
    fn forward(&self, latents: &Tensor, tiled: Option<&[Tiles]>, cancel: &CancelToken) -> Result<Tensor> {
        let tiled = tiled.unwrap_or_default();
        let whole = self.levels.len() - tiled.len();
        let mut x = self.mid_block.forward(&self.conv_in.forward(latents)?, cancel)?;
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

/// Encoder and decoder between pixels and latents.
pub struct AutoencoderKl {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    encoder_tiles: Vec<Tiles>,
    decoder_tiles: Vec<Tiles>,
}

impl AutoencoderKl {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderKlConfig) -> Result<Self> {
        let latents = config.latent_channels;
        let pointwise =
            |name: &str, channels| Conv2d::new(&weights.pp(name), Conv2dConfig::pointwise(channels, channels));
        Ok(Self {
            encoder: Encoder::new(&weights.pp("encoder"), config)?,
            quant_conv: config.use_quant_conv.then(|| pointwise("quant_conv", 2 * latents)).transpose()?,
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise("post_quant_conv", latents)).transpose()?,
            decoder: Decoder::new(&weights.pp("decoder"), config)?,
            encoder_tiles: config.encoder_tiles(),
            decoder_tiles: config.decoder_tiles(),
        })
    }

    fn posterior(&self, pixels: &Tensor, tiled: Option<&[Tiles]>, cancel: &CancelToken) -> Result<Posterior> {
        let mut moments = self.encoder.forward(pixels, tiled, cancel)?;
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(&moments)?;
        }
        Posterior::from_moments(&moments)
    }

    fn pixels(&self, latents: &Tensor, tiled: Option<&[Tiles]>, cancel: &CancelToken) -> Result<Tensor> {
        match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?, tiled, cancel),
            None => self.decoder.forward(latents, tiled, cancel),
        }
    }
}

impl Autoencoder for AutoencoderKl {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        self.posterior(pixels, None, cancel)
    }

    fn encode_tiled(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        self.posterior(pixels, Some(&self.encoder_tiles), cancel)
    }

    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        self.pixels(latents, None, cancel)
    }

    fn decode_tiled(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        self.pixels(latents, Some(&self.decoder_tiles), cancel)
    }
}
