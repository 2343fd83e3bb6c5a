//! The shape of a tiny autoencoder, from diffusers' `config.json`.

use serde_json::Value;

use super::config::Fields;
use crate::error::Result;

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
