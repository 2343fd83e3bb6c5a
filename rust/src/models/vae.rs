//! The variational autoencoder (Rombach et al. 2022), after diffusers' `AutoencoderKL`.

use candle_core::Tensor;
use serde_json::Value;

use super::config::Fields;
use super::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use super::{Autoencoder, Posterior};
use crate::error::Result;
use crate::nn::{Attention, Conv2d, Conv2dConfig, GroupNorm, Linear, Weights, to_feature_map, to_sequence};
use crate::progress::CancelToken;

const NORM_EPS: f64 = 1e-6;

/// The fields of `vae/config.json` that shape the network or scale its latents.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Channels of the pixels in.
    pub in_channels: usize,
    /// Channels of the pixels out.
    pub out_channels: usize,
    /// Channels of each level, from the pixels inwards; each level but the last halves the size.
    pub block_out_channels: Vec<usize>,
    /// Resnet blocks of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// The pipeline's latents are the encoder's times this.
    pub scaling_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle block has attention.
    pub mid_block_add_attention: bool,
}

impl AutoencoderKlConfig {
    /// Reads and checks `config.json`; what is absent takes diffusers' default.
    pub fn from_json(value: &Value) -> Result<Self> {
        Self::from_fields(&Fields::new("vae", value)?)
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let block_out_channels = fields.channels("block_out_channels")?;
        let levels = block_out_channels.len();
        let kind = |wanted: &'static str| move |kind: &str| (kind == wanted).then_some(());
        fields.kinds("down_block_types", levels, "DownEncoderBlock2D", kind("DownEncoderBlock2D"))?;
        fields.kinds("up_block_types", levels, "UpDecoderBlock2D", kind("UpDecoderBlock2D"))?;
        fields.only("act_fn", "silu")?;
        for name in ["shift_factor", "latents_mean", "latents_std"] {
            fields.only(name, Value::Null)?;
        }
        let config = Self {
            in_channels: fields.size("in_channels", 3, 3..=3)?,
            out_channels: fields.size("out_channels", 3, 3..=3)?,
            layers_per_block: fields.size("layers_per_block", 1, 1..=32)?,
            latent_channels: fields.size("latent_channels", 4, 1..=1024)?,
            norm_num_groups: fields.size("norm_num_groups", 32, 1..=16_384)?,
            scaling_factor: fields.number("scaling_factor", 0.18215, 1e-6..=1e6)?,
            use_quant_conv: fields.flag("use_quant_conv", true)?,
            use_post_quant_conv: fields.flag("use_post_quant_conv", true)?,
            mid_block_add_attention: fields.flag("mid_block_add_attention", true)?,
            block_out_channels,
        };
        fields.divides("norm_num_groups", config.norm_num_groups, &config.block_out_channels)?;
        Ok(config)
    }

    /// Pixels along one side of a latent position.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

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

    fn forward(&self, mut x: Tensor, cancel: &CancelToken) -> Result<Tensor> {
        for resnet in &self.resnets {
            cancel.check()?;
            x = resnet.forward_owned(x)?;
        }
        cancel.check()?;
        Ok(x)
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

    fn forward(&self, x: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for level in &self.levels {
            x = level.forward(x, cancel)?;
            if let Some(downsample) = &level.resample {
                x = downsample.forward(&x)?;
            }
        }
        let x = self.mid_block.forward(&x, cancel)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&[&x])?)
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

    fn forward(&self, x: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let mut x = self.mid_block.forward(&self.conv_in.forward(x)?, cancel)?;
        for level in &self.levels {
            x = level.forward(x, cancel)?;
            if let Some(upsample) = &level.resample {
                x = upsample.forward(&x, None)?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu_in_place(x)?)
    }
}

/// Encoder and decoder between pixels and latents.
pub struct AutoencoderKl {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
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
        })
    }
}

impl Autoencoder for AutoencoderKl {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        let mut moments = self.encoder.forward(pixels, cancel)?;
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(&moments)?;
        }
        Posterior::from_moments(&moments)
    }

    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents)?, cancel),
            None => self.decoder.forward(latents, cancel),
        }
    }
}
