//! Which kind of autoencoder a configuration is of.

use serde_json::Value;

use super::config::Fields;
use super::{Autoencoder, AutoencoderKl, AutoencoderKlConfig, AutoencoderTiny, AutoencoderTinyConfig};
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

    /// The network, from tensors under diffusers' names.
    pub fn build(&self, weights: &Weights) -> Result<Box<dyn Autoencoder>> {
        Ok(match self {
            Self::Kl(config) => Box::new(AutoencoderKl::new(weights, config)?),
            Self::Tiny(config) => Box::new(AutoencoderTiny::new(weights, config)?),
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

    /// Channels of the decoder's widest feature map of the pixels' size.
    pub fn widest(&self) -> usize {
        match self {
            Self::Kl(config) => {
                let channels = &config.block_out_channels;
                channels.get(1).or(channels.first()).copied().unwrap_or(1)
            }
            Self::Tiny(config) => config.decoder_block_out_channels[0],
        }
    }
}
