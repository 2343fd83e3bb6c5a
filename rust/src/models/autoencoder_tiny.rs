//! The tiny autoencoder (Bohan 2023, TAESD), after diffusers' `AutoencoderTiny`.

use candle_core::Tensor;
use serde_json::Value;

use super::config::Fields;
use super::{Autoencoder, Posterior};
use crate::error::Result;
use crate::nn::{Activation, Conv2d, Conv2dConfig, Weights};
use crate::progress::CancelToken;

/// What latents are softly clamped to, whatever `latent_magnitude` is.
const CLAMP: f64 = 3.0;

/// The fields of `config.json` that shape the network or scale its latents.
///
/// `latent_magnitude` and `latent_shift` are checked but not kept: neither encoder nor decoder uses them.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderTinyConfig {
    /// Channels of the pixels in.
    pub in_channels: usize,
    /// Channels of the pixels out.
    pub out_channels: usize,
    /// Channels of the encoder's levels, from the pixels inwards, all the same; each level but the first halves the
    /// size.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of the decoder's levels, from the latents outwards, all the same; each level but the last doubles the
    /// size.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder.
    pub num_decoder_blocks: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// The pipeline's latents are the encoder's times this.
    pub scaling_factor: f64,
}

impl AutoencoderTinyConfig {
    /// Reads and checks `config.json`; what is absent takes diffusers' default.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] that names the field.
    pub fn from_json(value: &Value) -> Result<Self> {
        Self::from_fields(&Fields::new("vae", value)?)
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let encoder = fields.channels_or("encoder_block_out_channels", &[64; 4])?;
        let decoder = fields.channels_or("decoder_block_out_channels", &[64; 4])?;
        for (name, channels) in [("encoder_block_out_channels", &encoder), ("decoder_block_out_channels", &decoder)] {
            // The convolution between two levels keeps the channels.
            if channels.iter().any(|count| *count != channels[0]) {
                return Err(fields.wrong(name, "one number of channels for all levels"));
            }
        }
        if encoder.len() != decoder.len() {
            let levels = encoder.len();
            return Err(fields.wrong("decoder_block_out_channels", format!("a list of {levels}, as the encoder's")));
        }
        fields.only("act_fn", "relu")?;
        fields.only("upsample_fn", "nearest")?;
        fields.only("upsampling_scaling_factor", 2)?;
        fields.number("shift_factor", 0.0, 0.0..=0.0)?;
        fields.number("latent_magnitude", 3.0, 1e-6..=1e6)?;
        fields.number("latent_shift", 0.5, -1e6..=1e6)?;
        fields.flag("force_upcast", false)?;
        let blocks = |name: &'static str, default: [usize; 4], levels: usize| {
            let given = fields.sizes(name, levels, 0..=32)?;
            given
                .or((levels == default.len()).then(|| default.to_vec()))
                .ok_or_else(|| fields.wrong(name, format!("{levels} whole numbers in 0..=32, one a level")))
        };
        Ok(Self {
            in_channels: fields.size("in_channels", 3, 3..=3)?,
            out_channels: fields.size("out_channels", 3, 3..=3)?,
            num_encoder_blocks: blocks("num_encoder_blocks", [1, 3, 3, 3], encoder.len())?,
            num_decoder_blocks: blocks("num_decoder_blocks", [3, 3, 3, 1], decoder.len())?,
            latent_channels: fields.size("latent_channels", 4, 1..=1024)?,
            scaling_factor: fields.number("scaling_factor", 1.0, 1e-6..=1e6)?,
            encoder_block_out_channels: encoder,
            decoder_block_out_channels: decoder,
        })
    }

    /// Pixels along one side of a latent position.
    pub fn factor(&self) -> usize {
        1 << (self.decoder_block_out_channels.len() - 1)
    }
}

/// diffusers' `AutoencoderTinyBlock`, whose inputs and outputs are always as many.
struct Block([Conv2d; 3]);

impl Block {
    fn new(weights: &Weights, channels: usize) -> Result<Self> {
        let conv = |index: usize| Conv2d::new(&weights.pp("conv").pp(index), Conv2dConfig::same3x3(channels, channels));
        Ok(Self([conv(0)?, conv(2)?, conv(4)?]))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.0;
        let h = Activation::Relu.forward(&first.forward(x)?)?;
        let h = Activation::Relu.forward(&second.forward(&h)?)?;
        Activation::Relu.forward(&third.forward_add(&h, x)?)
    }
}

enum Layer {
    Conv(Conv2d),
    Block(Box<Block>),
    Relu,
    /// Nearest-neighbour upsampling and the convolution behind it.
    Upsample(Conv2d),
}

/// One half of the network: diffusers counts its layers from 0, those without weights among them.
struct Layers(Vec<Layer>);

impl Layers {
    fn encoder(weights: &Weights, config: &AutoencoderTinyConfig) -> Result<Self> {
        let mut layers = Vec::new();
        let at = |layers: &Vec<Layer>| weights.pp("layers").pp(layers.len());
        for (level, blocks) in config.num_encoder_blocks.iter().enumerate() {
            let channels = config.encoder_block_out_channels[level];
            let conv = match level {
                0 => Conv2d::new(&at(&layers), Conv2dConfig::same3x3(config.in_channels, channels))?,
                _ => Conv2d::without_bias(&at(&layers), Conv2dConfig::down3x3(channels, channels, (1, 1)))?,
            };
            layers.push(Layer::Conv(conv));
            for _ in 0..*blocks {
                layers.push(Layer::Block(Box::new(Block::new(&at(&layers), channels)?)));
            }
        }
        let channels = config.encoder_block_out_channels[0];
        let out = Conv2dConfig::same3x3(channels, config.latent_channels);
        layers.push(Layer::Conv(Conv2d::new(&at(&layers), out)?));
        Ok(Self(layers))
    }

    fn decoder(weights: &Weights, config: &AutoencoderTinyConfig) -> Result<Self> {
        let channels = config.decoder_block_out_channels[0];
        let weights = weights.pp("layers");
        let conv_in = Conv2d::new(&weights.pp(0), Conv2dConfig::same3x3(config.latent_channels, channels))?;
        let mut layers = vec![Layer::Conv(conv_in), Layer::Relu];
        let mut index = layers.len();
        for (level, blocks) in config.num_decoder_blocks.iter().enumerate() {
            for _ in 0..*blocks {
                layers.push(Layer::Block(Box::new(Block::new(&weights.pp(index), channels)?)));
                index += 1;
            }
            if level + 1 < config.num_decoder_blocks.len() {
                // The upsampling is a layer of its own there.
                index += 1;
                let conv = Conv2d::without_bias(&weights.pp(index), Conv2dConfig::same3x3(channels, channels))?;
                layers.push(Layer::Upsample(conv));
                index += 1;
            }
        }
        let out = Conv2dConfig::same3x3(channels, config.out_channels);
        layers.push(Layer::Conv(Conv2d::new(&weights.pp(index), out)?));
        Ok(Self(layers))
    }

    fn forward(&self, mut x: Tensor, cancel: &CancelToken) -> Result<Tensor> {
        for layer in &self.0 {
            cancel.check()?;
            x = match layer {
                Layer::Conv(conv) => conv.forward(&x)?,
                Layer::Block(block) => block.forward(&x)?,
                Layer::Relu => Activation::Relu.forward(&x)?,
                Layer::Upsample(conv) => {
                    let (_, _, height, width) = x.dims4()?;
                    conv.forward_upsampled(&x, (2 * height, 2 * width))?
                }
            };
        }
        Ok(x)
    }
}

/// Encoder and decoder of 1.2 million weights each, where the published ones' `AutoencoderKL` has 34 and 50.
pub struct AutoencoderTiny {
    encoder: Layers,
    decoder: Layers,
}

impl AutoencoderTiny {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderTinyConfig) -> Result<Self> {
        Ok(Self {
            encoder: Layers::encoder(&weights.pp("encoder"), config)?,
            decoder: Layers::decoder(&weights.pp("decoder"), config)?,
        })
    }
}

impl Autoencoder for AutoencoderTiny {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        Ok(Posterior { mean: self.encoder.forward(pixels.affine(0.5, 0.5)?, cancel)?, std: None })
    }

    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let latents = ((latents / CLAMP)?.tanh()? * CLAMP)?;
        Ok(self.decoder.forward(latents, cancel)?.affine(2.0, -1.0)?)
    }
}
