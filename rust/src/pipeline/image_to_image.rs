//! A picture to the latents that a drawing begins with.

use candle_core::{DType, Tensor};

use super::Pipeline;
use super::prepare::Noise;
use super::vae::is_finite;
use crate::error::{Error, Result};
use crate::models::Posterior;
use crate::params::{GenerationParams, InitialImage};
use crate::progress::CancelToken;
use crate::schedulers::Scheduler;

/// The index of the first step that a run takes: diffusers' `set_begin_index`.
///
/// # Errors
/// [`Error::InvalidParams`] for a schedule that has come out so short that no step is left.
pub fn begin_index(params: &GenerationParams, scheduler: &dyn Scheduler) -> Result<usize> {
    let steps = params.num_inference_steps();
    let skipped = params.initial_image().map_or(0, |image| image.skipped_steps(steps));
    let (begin, there_are) = (skipped * scheduler.order(), scheduler.timesteps().len());
    match params.strength() {
        Some(strength) if begin >= there_are => {
            let allowed = format!("more: the schedule has {there_are} steps, and it would leave out {begin}");
            Err(Error::invalid("strength", strength, allowed))
        }
        _ => Ok(begin),
    }
}

impl Pipeline {
    /// The posterior over unscaled latents of `pixels`, f32 (1, 3, height, width) in -1 to 1, in f32.
    pub(super) fn posterior(&self, pixels: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Posterior> {
        let Posterior { mean, std } = self.vae.encode(pixels, tiled, cancel)?;
        let mean = finite(mean.to_dtype(DType::F32)?)?;
        let std = std.map(|std| finite(std.to_dtype(DType::F32)?)).transpose()?;
        Ok(Posterior { mean, std })
    }

    /// The posterior of the picture that `initial_image` is.
    pub(super) fn image_posterior(
        &self,
        initial_image: &InitialImage,
        tiled: bool,
        cancel: &CancelToken,
    ) -> Result<Posterior> {
        self.posterior(&initial_image.image().to_tensor()?, tiled, cancel)
    }

    /// A sample of `posterior`, scaled as the UNet takes latents.
    pub(super) fn sample_latents(&self, posterior: &Posterior, noise: &mut Noise) -> Result<Tensor> {
        Ok((posterior.sample(|shape| noise.draw(shape))? * self.model.vae.scaling_factor())?)
    }
}

fn finite(latents: Tensor) -> Result<Tensor> {
    match is_finite(&latents)? {
        true => Ok(latents),
        false => Err(Error::Inference("the encoded image has values that are not finite".into())),
    }
}
