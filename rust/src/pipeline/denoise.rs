//! The sampling loop.

use candle_core::{DType, Tensor};

use super::Pipeline;
use super::clock::Clock;
use super::prepare::Drawing;
use crate::error::Result;
use crate::models::{Conditioning, DeepFeatures, Denoiser};
use crate::params::GenerationParams;
use crate::progress::{CancelToken, Phase};

impl Pipeline {
    /// Runs all steps of one picture; latents in and out are f32 (1, channels, h, w).
    pub(super) fn denoise(
        &self,
        params: &GenerationParams,
        drawing: Drawing,
        conditions: &Conditioning,
        image: usize,
        clock: &mut Clock<'_>,
    ) -> Result<Tensor> {
        let Drawing { mut latents, begin, inpainting, mut scheduler, mut noise } = drawing;
        let mut network = Network::new(self, params, conditions)?;
        let timesteps = scheduler.timesteps()[begin..].to_vec();
        let steps = timesteps.len();
        for (index, timestep) in timesteps.into_iter().enumerate() {
            let of_schedule = begin + index;
            let mut sample = scheduler.scale_model_input(&latents, of_schedule)?;
            if let Some(inpainting) = &inpainting {
                sample = inpainting.model_input(sample)?;
            }
            let sample = self.bring(&sample)?;
            let guided = params.is_guided() && params.guidance_interval().contains(index, steps);
            network.begin_step(index, guided)?;
            let output = network.guided(&sample, timestep, guided, clock.cancel())?.to_dtype(DType::F32)?;
            let stepped = scheduler.step(&output, of_schedule, &latents, &mut |shape| noise.draw(shape))?;
            let (mut foreseen, mut next) = (stepped.pred_original_sample, stepped.prev_sample);
            if let Some(inpainting) = &inpainting {
                foreseen = inpainting.keep_clean(foreseen)?;
                next = inpainting.keep(next, scheduler.as_ref(), of_schedule + 1)?;
            }
            let preview = match params.previews().after(index) {
                true => Some(self.preview(&foreseen, params.previews().decode, clock.cancel())?),
                false => None,
            };
            latents = next;
            clock.step(Phase::Denoise, image, preview)?;
        }
        Ok(latents)
    }
}

/// The UNet as one picture sees it from step to step.
struct Network<'a> {
    unet: &'a dyn Denoiser,
    params: &'a GenerationParams,
    /// Unconditional and conditional, where there is guidance at all.
    conditions: &'a Conditioning,
    conditional: Conditioning,
    features: Option<DeepFeatures>,
}

impl<'a> Network<'a> {
    fn new(pipeline: &'a Pipeline, params: &'a GenerationParams, conditions: &'a Conditioning) -> Result<Self> {
        let conditional = conditions.last()?;
        let deepcache = params.deepcache();
        let features = deepcache.is_on().then(|| DeepFeatures::new(deepcache.branch()));
        Ok(Self { unet: pipeline.unet.as_ref(), params, conditions, conditional, features })
    }

    fn begin_step(&mut self, index: usize, guided: bool) -> Result<()> {
        match &mut self.features {
            Some(features) => features.begin_step(self.params.deepcache().is_key_step(index), 1 + usize::from(guided)),
            None => Ok(()),
        }
    }

    /// Classifier-free guidance (Ho and Salimans 2022, equation 6) in the form of diffusers:
    /// `unconditional + scale * (conditional - unconditional)`.
    fn guided(&mut self, sample: &Tensor, timestep: f64, guided: bool, cancel: &CancelToken) -> Result<Tensor> {
        if !guided {
            let conditional = self.conditional.clone();
            return self.predict(sample, timestep, &conditional, cancel);
        }
        let pair = Tensor::cat(&[sample, sample], 0)?;
        let outputs = self.predict(&pair, timestep, self.conditions, cancel)?.chunk(2, 0)?;
        let (unconditional, conditional) = (&outputs[0], &outputs[1]);
        let guided = (unconditional + ((conditional - unconditional)? * self.params.guidance_scale())?)?;
        if self.params.guidance_rescale() == 0.0 {
            return Ok(guided);
        }
        rescale_noise_cfg(&guided, conditional, self.params.guidance_rescale())
    }

    fn predict(
        &mut self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        match &mut self.features {
            Some(features) => self.unet.predict_cached(sample, timestep, conditions, features, cancel),
            None => self.unet.predict(sample, timestep, conditions, cancel),
        }
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
