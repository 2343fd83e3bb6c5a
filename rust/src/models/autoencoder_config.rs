//! Which kind of autoencoder a configuration is of.

use serde_json::Value;

use super::config::Fields;
use super::{
    AutoencoderKlConfig, AutoencoderKlDecoder, AutoencoderKlEncoder, AutoencoderTinyConfig, AutoencoderTinyDecoder,
    AutoencoderTinyEncoder, VaeDecoder, VaeEncoder,
};
use crate::error::Result;
use crate::nn::Weights;

/// The shape of an autoencoder, by its class.
#[derive(Debug, Clone, PartialEq)]
pub enum AutoencoderConfig {
    /// `AutoencoderKL`
    Kl(AutoencoderKlConfig),
    /// `AutoencoderTiny`
    Tiny(AutoencoderTinyConfig),
}

impl AutoencoderConfig {
    /// Reads and checks the `config.json` of `component`, which names it in errors.
    ///
    /// `class` is what `model_index.json` says; without it `_class_name` tells, else it is an `AutoencoderKL`.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] for another class, and for what the class cannot be.
    pub fn from_json(component: &str, class: Option<&str>, value: &Value) -> Result<Self> {
        let fields = Fields::new(component, value)?;
        match class.or(fields.text("_class_name")?) {
            None | Some("AutoencoderKL") => AutoencoderKlConfig::from_fields(&fields).map(Self::Kl),
            Some("AutoencoderTiny") => AutoencoderTinyConfig::from_fields(&fields).map(Self::Tiny),
            Some(other) => Err(fields.unsupported_class(other, "AutoencoderKL or AutoencoderTiny")),
        }
    }

    /// The encoder, from an autoencoder's tensors under diffusers' names; those of the decoder are checked and not read.
    pub fn encoder(&self, weights: &Weights) -> Result<Box<dyn VaeEncoder>> {
        self.build_decoder(&weights.unread())?;
        self.build_encoder(weights)
    }

    /// The decoder, in the same way.
    pub fn decoder(&self, weights: &Weights) -> Result<Box<dyn VaeDecoder>> {
        self.build_encoder(&weights.unread())?;
        self.build_decoder(weights)
    }

    fn build_encoder(&self, weights: &Weights) -> Result<Box<dyn VaeEncoder>> {
        Ok(match self {
            Self::Kl(config) => Box::new(AutoencoderKlEncoder::new(weights, config)?),
            Self::Tiny(config) => Box::new(AutoencoderTinyEncoder::new(weights, config)?),
        })
    }

    fn build_decoder(&self, weights: &Weights) -> Result<Box<dyn VaeDecoder>> {
        Ok(match self {
            Self::Kl(config) => Box::new(AutoencoderKlDecoder::new(weights, config)?),
            Self::Tiny(config) => Box::new(AutoencoderTinyDecoder::new(weights, config)?),
        })
    }

    /// Channels of the pixels in.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.in_channels,
            Self::Tiny(config) => config.in_channels,
        }
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// Pixels along one side of a latent position.
    pub fn factor(&self) -> usize {
        match self {
            Self::Kl(config) => config.factor(),
            Self::Tiny(config) => config.factor(),
        }
    }

    /// The pipeline's latents are the encoder's times this.
    pub fn scaling_factor(&self) -> f64 {
        match self {
            Self::Kl(config) => config.scaling_factor,
            Self::Tiny(config) => config.scaling_factor,
        }
    }

    /// Operations of decoding one picture from latents of `size`, height and width.
    pub fn decode_flops(&self, size: (usize, usize)) -> f64 {
        match self {
            Self::Kl(config) => config.decode_flops(size),
            Self::Tiny(config) => config.decode_flops(size),
        }
    }

    /// Channels of the encoder's feature maps of the pixels' size.
    pub fn encoder_width(&self) -> usize {
        match self {
            Self::Kl(config) => config.block_out_channels[0],
            Self::Tiny(config) => config.encoder_block_out_channels[0],
        }
    }

    /// Channels of the pixels' size that the decoder holds at one time, at most.
    pub fn decoder_channels(&self) -> usize {
        match self {
            Self::Kl(config) => {
                // The last level's input, its shortcut and the sum; or a block's input, normed and convolved.
                let channels = &config.block_out_channels;
                let first = channels[0];
                channels.get(1).map_or(first, |second| *second.max(&first)) + 2 * first
            }
            Self::Tiny(config) => 5 * config.decoder_block_out_channels[0],
        }
    }

    /// Channels of the pixels' size that either half holds at one time where it runs in tiles: of a tile, and of the
    /// whole picture.
    pub fn tiled_channels(&self) -> (usize, f64) {
        let tile = self.decoder_channels().max(4 * self.encoder_width());
        let whole = match self {
            Self::Kl(config) => {
                let channels = &config.block_out_channels;
                let at = |level: usize| channels[level.min(channels.len() - 1)] as f64;
                // Three maps where nothing is tiled, or the inputs and outputs of the tiled levels.
                (3.0 * at(2) / 16.0).max(at(2) / 16.0 + at(1) / 4.0) + 9.0
            }
            Self::Tiny(config) => 6.0 * config.decoder_block_out_channels[0] as f64 / 16.0 + 9.0,
        };
        (tile, whole)
    }
}
