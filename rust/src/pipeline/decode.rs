//! Latents to pixels.

use candle_core::Tensor;

use super::Pipeline;
use super::vae::VaeStage;
use crate::device;
use crate::error::{Error, Result};
use crate::image::Rgb8;
use crate::models::TILE_SIDE;
use crate::params::GenerationParams;
use crate::progress::CancelToken;

/// Bytes that decoding leaves free, for others on the machine.
const RESERVE: u64 = 512 << 20;
/// Pixels from which on a picture is decoded in tiles on a GPU, whose free memory is not known.
const WHOLE_ON_GPU: usize = 1536 * 1536;

/// How pictures are decoded.
pub(super) struct Tiling {
    /// Whether in tiles.
    pub tiled: bool,
    /// Why, where that was not asked for.
    pub event: Option<String>,
}

impl Pipeline {
    /// What was asked for, or else what the memory allows.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the free memory is plainly too small.
    pub(super) fn tiling(&self, params: &GenerationParams) -> Result<Tiling> {
        let (height, width) = (params.height(), params.width());
        let several = height.max(width) > TILE_SIDE;
        let may_tile = several && self.model.defaults.has_vae_tiles && params.vae_tiling() != Some(false);
        let must_tile = may_tile && params.vae_tiling() == Some(true);
        if !self.device.is_cpu() {
            let large = may_tile && height * width > WHOLE_ON_GPU;
            let event = (large && !must_tile).then(|| format!("decoded in tiles: {width} x {height} is large"));
            return Ok(Tiling { tiled: must_tile || large, event });
        }
        let (whole, in_tiles) = (self.model.decode_bytes(height, width), self.model.tiled_decode_bytes(height, width));
        let Some(available) = device::available_bytes() else { return Ok(Tiling { tiled: must_tile, event: None }) };
        let tiled = must_tile || (may_tile && whole + RESERVE > available);
        let (needed, mib) = (if tiled { in_tiles } else { whole }, 1 << 20);
        if available < needed {
            return Err(Error::OutOfMemory(format!(
                "a picture of {width} x {height} takes about {} MiB to decode, and {} MiB are free",
                needed / mib,
                available / mib
            )));
        }
        let event = (tiled && !must_tile).then(|| {
            format!(
                "decoded in tiles: the whole would take about {} MiB, and {} MiB were free",
                whole / mib,
                available / mib
            )
        });
        Ok(Tiling { tiled, event })
    }

    pub(super) fn decode(&self, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Rgb8> {
        decode_by(&self.vae, latents, tiled, cancel)
    }
}

/// The picture that `vae` makes of the pipeline's latents.
pub(super) fn decode_by(vae: &VaeStage, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Rgb8> {
    Rgb8::from_tensor(&vae.decode(&(latents / vae.scaling_factor())?, tiled, cancel)?)
}
