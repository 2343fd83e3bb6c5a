//! The tiny autoencoder (Bohan 2023, TAESD), after diffusers' `AutoencoderTiny`.

use candle_core::Tensor;
use serde_json::Value;

use super::config::Fields;
use super::tiles::{TILED_LEVELS, Tiles};
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
    /// A convolution that halves the size.
    Downsample(Conv2d),
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
            let layer = match level {
                0 => Layer::Conv(Conv2d::new(&at(&layers), Conv2dConfig::same3x3(config.in_channels, channels))?),
                _ => {
                    let down = Conv2dConfig::down3x3(channels, channels, (1, 1));
                    Layer::Downsample(Conv2d::without_bias(&at(&layers), down)?)
                }
            };
            layers.push(layer);
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

    fn forward(layers: &[Layer], mut x: Tensor, cancel: &CancelToken) -> Result<Tensor> {
        for layer in layers {
            cancel.check()?;
            x = match layer {
                Layer::Conv(conv) | Layer::Downsample(conv) => conv.forward(&x)?,
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

/// The layers of both halves that may run in tiles, from the pixels to where the size has halved [`TILED_LEVELS`] times.
impl Layers {
    /// The encoder's layers that are tiled, the others, and how.
    fn encoder_tiles(&self) -> (&[Layer], &[Layer], Tiles) {
        let (mut reach, mut factor, mut count) = (0, 1, 0);
        for layer in &self.0 {
            reach = match layer {
                Layer::Downsample(_) => reach / 2 + 1,
                layer => reach + layer.reach(),
            };
            count += 1;
            if matches!(layer, Layer::Downsample(_)) {
                factor *= 2;
                if factor == 1 << TILED_LEVELS {
                    break;
                }
            }
        }
        let (outer, inner) = self.0.split_at(count);
        (outer, inner, Tiles { inputs: factor, outputs: 1, pixels: factor, halo: reach })
    }

    /// The decoder's layers that are not tiled, those that are, and how.
    fn decoder_tiles(&self) -> (&[Layer], &[Layer], Tiles) {
        let (mut reach, mut factor, mut count) = (0usize, 1, 0);
        for layer in self.0.iter().rev() {
            reach = match layer {
                Layer::Upsample(_) => (reach + 1).div_ceil(2),
                layer => reach + layer.reach(),
            };
            count += 1;
            if matches!(layer, Layer::Upsample(_)) {
                factor *= 2;
                if factor == 1 << TILED_LEVELS {
                    break;
                }
            }
        }
        let (inner, outer) = self.0.split_at(self.0.len() - count);
        (inner, outer, Tiles { inputs: 1, outputs: factor, pixels: factor, halo: reach })
    }
}

impl Layer {
    /// How far an output that keeps the size sees.
    fn reach(&self) -> usize {
        match self {
            Self::Conv(_) | Self::Downsample(_) | Self::Upsample(_) => 1,
            Self::Block(_) => 3,
            Self::Relu => 0,
        }
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
        Ok(Posterior { mean: Layers::forward(&self.encoder.0, pixels.affine(0.5, 0.5)?, cancel)?, std: None })
    }

    fn encode_tiled(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        let (outer, inner, tiles) = self.encoder.encoder_tiles();
        let x = tiles.run(&pixels.affine(0.5, 0.5)?, &mut |x| Layers::forward(outer, x, cancel))?;
        Ok(Posterior { mean: Layers::forward(inner, x, cancel)?, std: None })
    }

    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        Ok(Layers::forward(&self.decoder.0, clamp(latents)?, cancel)?.affine(2.0, -1.0)?)
    }

    fn decode_tiled(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let (inner, outer, tiles) = self.decoder.decoder_tiles();
        let x = Layers::forward(inner, clamp(latents)?, cancel)?;
        Ok(tiles.run(&x, &mut |x| Layers::forward(outer, x, cancel))?.affine(2.0, -1.0)?)
    }
}

fn clamp(latents: &Tensor) -> Result<Tensor> {
    Ok(((latents / CLAMP)?.tanh()? * CLAMP)?)
}
