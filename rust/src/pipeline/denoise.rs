//! The sampling loop.

use candle_core::{DType, Tensor};

use super::Pipeline;
use super::clock::Clock;
use super::prepare::Drawing;
use crate::error::Result;
use crate::params::GenerationParams;
use crate::progress::Phase;

impl Pipeline {
    /// Runs all steps of one picture; latents in and out are f32 (1, channels, h, w).
    pub(super) fn denoise(
        &self,
        params: &GenerationParams,
        drawing: Drawing,
        embeddings: &Tensor,
        image: usize,
        clock: &mut Clock<'_>,
    ) -> Result<Tensor> {
        let Drawing { mut latents, mut scheduler, mut noise } = drawing;
        for (index, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            let sample = self.bring(&scheduler.scale_model_input(&latents, index)?)?;
            let output = self.guided(params, &sample, timestep, embeddings, clock)?.to_dtype(DType::F32)?;
            let stepped = scheduler.step(&output, index, &latents, &mut |shape| noise.draw(shape))?;
            let preview = match params.previews().after(index) {
                true => Some(self.preview(&stepped.pred_original_sample, params.previews().decode, clock.cancel())?),
                false => None,
            };
            latents = stepped.prev_sample;
            clock.step(Phase::Denoise, image, preview)?;
        }
        Ok(latents)
    }

    /// Classifier-free guidance (Ho and Salimans 2022, equation 6) in the form of diffusers:
    /// `unconditional + scale * (conditional - unconditional)`.
    fn guided(
        &self,
        params: &GenerationParams,
        sample: &Tensor,
        timestep: f64,
        embeddings: &Tensor,
        clock: &Clock<'_>,
    ) -> Result<Tensor> {
        if !params.is_guided() {
            return self.unet.predict(sample, timestep, embeddings, clock.cancel());
        }
        let pair = Tensor::cat(&[sample, sample], 0)?;
        let outputs = self.unet.predict(&pair, timestep, embeddings, clock.cancel())?.chunk(2, 0)?;
        let (unconditional, conditional) = (&outputs[0], &outputs[1]);
        Ok((unconditional + ((conditional - unconditional)? * params.guidance_scale())?)?)
    }
}
