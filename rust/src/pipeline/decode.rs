//! Latents to pixels.

use candle_core::Tensor;

use super::Pipeline;
use crate::error::Result;
use crate::image::Rgb8;
use crate::progress::CancelToken;

impl Pipeline {
    pub(super) fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Rgb8> {
        let latents = self.bring(&(latents / self.model.vae.scaling_factor)?)?;
        Rgb8::from_tensor(&self.vae.decode(&latents, cancel)?)
    }
}
