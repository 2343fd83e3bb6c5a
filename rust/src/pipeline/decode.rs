//! Latents to pixels.

use candle_core::Tensor;

use super::Pipeline;
use crate::error::Result;
use crate::image::Rgb8;
use crate::models::Autoencoder;
use crate::progress::CancelToken;

impl Pipeline {
    pub(super) fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Rgb8> {
        self.decode_by(self.vae.as_ref(), self.model.vae.scaling_factor(), latents, cancel)
    }

    /// The picture that `vae`, whose latents are scaled by `scaling_factor`, makes of the pipeline's.
    pub(super) fn decode_by(
        &self,
        vae: &dyn Autoencoder,
        scaling_factor: f64,
        latents: &Tensor,
        cancel: &CancelToken,
    ) -> Result<Rgb8> {
        Rgb8::from_tensor(&vae.decode(&self.bring(&(latents / scaling_factor)?)?, cancel)?)
    }
}
