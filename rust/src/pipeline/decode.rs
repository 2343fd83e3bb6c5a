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

/// Bytes that are left free, for others on the machine.
const RESERVE: u64 = 512 << 20;
/// Pixels from which on the VAE runs in tiles on a GPU, whose free memory is not known.
const WHOLE_ON_GPU: usize = 1536 * 1536;

/// How the VAE runs.
pub(super) struct Tiling {
    /// Whether in tiles.
    pub tiled: bool,
    /// Why, where that was not asked for.
    pub event: Option<String>,
}

impl Pipeline {
    /// What was asked for, or else what the memory asks for.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the free memory is plainly too small.
    pub(super) fn tiling(&self, params: &GenerationParams) -> Result<Tiling> {
        let (height, width) = (params.height(), params.width());
        let may =
            height.max(width) > TILE_SIDE && self.model.defaults.has_vae_tiles && params.vae_tiling() != Some(false);
        let must = may && params.vae_tiling() == Some(true);
        if !self.device.is_cpu() {
            let large = may && height * width > WHOLE_ON_GPU;
            let event =
                (large && !must).then(|| format!("the VAE ran in tiles: {width} x {height} is large for a GPU"));
            return Ok(Tiling { tiled: must || large, event });
        }
        let Some(available) = device::available_bytes() else { return Ok(Tiling { tiled: must, event: None }) };
        let mut work = ("decode", self.model.decode_bytes(height, width));
        if params.initial_image().is_some() {
            let encode = ("encode", self.model.encode_bytes(height, width));
            work = if encode.1 > work.1 { encode } else { work };
        }
        let ((work, whole), mib) = (work, 1 << 20);
        let tiled = must || (may && whole + RESERVE > available);
        let needed = if tiled { self.model.tiled_bytes(height, width) } else { whole };
        if available < needed {
            return Err(Error::OutOfMemory(format!(
                "a picture of {width} x {height} takes about {} MiB to {work}, and {} MiB are free",
                needed / mib,
                available / mib
            )));
        }
        let event = (tiled && !must).then(|| {
            let (whole, free) = (whole / mib, available / mib);
            format!("the VAE ran in tiles: the whole takes about {whole} MiB to {work}, and {free} MiB were free")
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
