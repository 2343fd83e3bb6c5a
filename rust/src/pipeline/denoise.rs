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
        let guided = (unconditional + ((conditional - unconditional)? * params.guidance_scale())?)?;
        if params.guidance_rescale() == 0.0 {
            return Ok(guided);
        }
        rescale_noise_cfg(&guided, conditional, params.guidance_rescale())
    }
}

/// diffusers' `rescale_noise_cfg`: formulas 15 and 16 of Lin et al. (2023). `rescale` of `guided` is brought to the
/// standard deviation of `conditional`; both are one picture's, (1, channels, h, w).
fn rescale_noise_cfg(guided: &Tensor, conditional: &Tensor, rescale: f64) -> Result<Tensor> {
    let ratio = standard_deviation(conditional)? / standard_deviation(guided)?;
    Ok((guided * (rescale * ratio + 1.0 - rescale))?)
}

/// Of a whole tensor, without bias as torch's `std`.
fn standard_deviation(tensor: &Tensor) -> Result<f64> {
    let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Ok(square.sqrt())
}
