//! The tiny autoencoder (Bohan 2023, TAESD), after diffusers' `AutoencoderTiny`.

use candle_core::Tensor;

use super::autoencoder_tiny_config::AutoencoderTinyConfig;
use super::tiles::{TILED_LEVELS, Tiles};
use super::{Posterior, VaeDecoder, VaeEncoder};
use crate::error::Result;
use crate::nn::{Activation, Conv2d, Conv2dConfig, Weights};
use crate::progress::CancelToken;

/// What latents are softly clamped to, whatever `latent_magnitude` is.
const CLAMP: f64 = 3.0;

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

/// From pixels to latents: 1.2 million weights, where the published `AutoencoderKL` has 34.
pub struct AutoencoderTinyEncoder(Layers);

impl AutoencoderTinyEncoder {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderTinyConfig) -> Result<Self> {
        Layers::encoder(&weights.pp("encoder"), config).map(Self)
    }
}

impl VaeEncoder for AutoencoderTinyEncoder {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        Ok(Posterior { mean: Layers::forward(&self.0.0, pixels.affine(0.5, 0.5)?, cancel)?, std: None })
    }

    fn encode_tiled(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        let (outer, inner, tiles) = self.0.encoder_tiles();
        let x = tiles.run(&pixels.affine(0.5, 0.5)?, &mut |x| Layers::forward(outer, x, cancel))?;
        Ok(Posterior { mean: Layers::forward(inner, x, cancel)?, std: None })
    }
}

/// From latents to pixels: 1.2 million weights, where the published `AutoencoderKL` has 50.
pub struct AutoencoderTinyDecoder(Layers);

impl AutoencoderTinyDecoder {
    /// Takes the tensors under diffusers' names.
    pub fn new(weights: &Weights, config: &AutoencoderTinyConfig) -> Result<Self> {
        Layers::decoder(&weights.pp("decoder"), config).map(Self)
    }
}

impl VaeDecoder for AutoencoderTinyDecoder {
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        Ok(Layers::forward(&self.0.0, clamp(latents)?, cancel)?.affine(2.0, -1.0)?)
    }

    fn decode_tiled(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        let (inner, outer, tiles) = self.0.decoder_tiles();
        let x = Layers::forward(inner, clamp(latents)?, cancel)?;
        Ok(tiles.run(&x, &mut |x| Layers::forward(outer, x, cancel))?.affine(2.0, -1.0)?)
    }
}

fn clamp(latents: &Tensor) -> Result<Tensor> {
    Ok(((latents / CLAMP)?.tanh()? * CLAMP)?)
}
