//! What shapes diffusers' `AutoencoderKL`.

use serde_json::Value;

use super::config::Fields;
use super::tiles::{TILED_LEVELS, Tiles};
use crate::error::Result;

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

    /// How the last levels of the decoder are tiled, one after the other.
    pub(super) fn decoder_tiles(&self) -> Vec<Tiles> {
        let levels = self.block_out_channels.len();
        let tiles = |level: usize| {
            let outputs = if level > 0 { 2 } else { 1 };
            let reach = 2 * (self.layers_per_block + 1) + usize::from(level + 1 == levels);
            let halo = if level > 0 { (reach + 1).div_ceil(2) } else { reach };
            Tiles { inputs: 1, outputs, pixels: outputs << (levels - 1 - level), halo }
        };
        (levels.saturating_sub(TILED_LEVELS)..levels).map(tiles).collect()
    }

    /// How the first levels of the encoder are tiled, one after the other.
    pub(super) fn encoder_tiles(&self) -> Vec<Tiles> {
        let levels = self.block_out_channels.len();
        let tiles = |level: usize| {
            let inputs = if level + 1 < levels { 2 } else { 1 };
            let reach = 2 * self.layers_per_block + usize::from(level == 0);
            let halo = if level + 1 < levels { reach / 2 + 1 } else { reach };
            Tiles { inputs, outputs: 1, pixels: inputs << level, halo }
        };
        (0..levels.min(TILED_LEVELS)).map(tiles).collect()
    }
}
