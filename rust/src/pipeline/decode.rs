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

/// What a picture takes, in bytes.
struct Need {
    size: (usize, usize),
    /// `encode` or `decode`, whichever takes more.
    work: &'static str,
    whole: u64,
    tiled: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Whole,
    Tiled,
    Free,
}

impl Need {
    /// Where there is a choice, the whole if it leaves [`RESERVE`] bytes of those that are `available`.
    fn meet(&self, choice: Choice, available: Option<u64>) -> Result<Tiling> {
        let Some(available) = available else { return Ok(Tiling { tiled: choice == Choice::Tiled, event: None }) };
        let tiled = choice == Choice::Tiled || (choice == Choice::Free && self.whole + RESERVE > available);
        let (needed, free, work) = (if tiled { self.tiled } else { self.whole }, available >> 20, self.work);
        if available < needed {
            let ((height, width), needed) = (self.size, needed >> 20);
            return Err(Error::OutOfMemory(format!(
                "a picture of {width} x {height} takes about {needed} MiB to {work}, and {free} MiB are free"
            )));
        }
        let event = (tiled && choice == Choice::Free).then(|| {
            let whole = self.whole >> 20;
            format!("the VAE ran in tiles: the whole takes about {whole} MiB to {work}, and {free} MiB were free")
        });
        Ok(Tiling { tiled, event })
    }
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
        let mut work = ("decode", self.model.decode_bytes(height, width));
        if params.initial_image().is_some() {
            let encode = ("encode", self.model.encode_bytes(height, width));
            work = if encode.1 > work.1 { encode } else { work };
        }
        let need =
            Need { size: (height, width), work: work.0, whole: work.1, tiled: self.model.tiled_bytes(height, width) };
        let tiling = if must {
            Choice::Tiled
        } else if may {
            Choice::Free
        } else {
            Choice::Whole
        };
        need.meet(tiling, device::available_bytes())
    }

    pub(super) fn decode(&self, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Rgb8> {
        decode_by(&self.vae, latents, tiled, cancel)
    }
}

/// The picture that `vae` makes of the pipeline's latents.
pub(super) fn decode_by(vae: &VaeStage, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Rgb8> {
    Rgb8::from_tensor(&vae.decode(&(latents / vae.scaling_factor())?, tiled, cancel)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { size: (2048, 2048), work: "decode", whole: 8 << 30, tiled: 2 << 30 };

    #[test]
    fn the_memory_decides_what_was_not_asked_for() {
        let tiled = |choice, gib: u64| NEED.meet(choice, Some(gib << 30)).expect("enough").tiled;
        assert!(!tiled(Choice::Free, 9) && tiled(Choice::Free, 8) && tiled(Choice::Free, 2));
        assert!(!tiled(Choice::Whole, 8) && tiled(Choice::Tiled, 64));
        let event = NEED.meet(Choice::Free, Some(4 << 30)).expect("enough").event.expect("told");
        let want = "the VAE ran in tiles: the whole takes about 8192 MiB to decode, and 4096 MiB were free";
        assert_eq!(event, want);
        assert!(NEED.meet(Choice::Tiled, Some(4 << 30)).expect("enough").event.is_none(), "it was asked for");
        for (choice, gib) in [(Choice::Free, 1), (Choice::Tiled, 1), (Choice::Whole, 7)] {
            assert!(matches!(NEED.meet(choice, Some(gib << 30)), Err(Error::OutOfMemory(_))));
        }
        assert!(!NEED.meet(Choice::Free, None).expect("unknown").tiled);
    }
}
