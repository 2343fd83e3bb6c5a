//! The parameters of a generation as Python gives them.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffers::{gray, rgb};
use super::keywords::Keywords;
use crate::error::Result;
use crate::params::{Defaults, GenerationParams, Previews, Request};
use crate::pipeline::Sampler;
use crate::schedulers::SchedulerOptions;
use crate::size_conditioning::SizeConditioning;

/// Keyword arguments; what is absent or None is the model's own.
pub struct Parameters {
    request: Request,
    scheduler: Option<String>,
    options: SchedulerOptions,
}

impl Parameters {
    /// Takes the keyword arguments of a call.
    pub fn extract(py: Python<'_>, prompt: String, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords = Keywords::new(py, keywords)?;
        let syntax: Option<String> = keywords.take("prompt_syntax")?;
        let parameters = Self {
            request: Request {
                prompt,
                negative_prompt: keywords.take("negative_prompt")?,
                image: keywords.take_with("image", rgb)?,
                mask_image: keywords.take_with("mask_image", gray)?,
                strength: keywords.take("strength")?,
                prompt_2: keywords.take("prompt_2")?,
                negative_prompt_2: keywords.take("negative_prompt_2")?,
                sizes: SizeConditioning {
                    original_size: keywords.take("original_size")?,
                    crops_coords_top_left: keywords.take("crops_coords_top_left")?,
                    target_size: keywords.take("target_size")?,
                    negative_original_size: keywords.take("negative_original_size")?,
                    negative_crops_coords_top_left: keywords.take("negative_crops_coords_top_left")?,
                    negative_target_size: keywords.take("negative_target_size")?,
                },
                height: keywords.take("height")?,
                width: keywords.take("width")?,
                num_inference_steps: keywords.take("num_inference_steps")?,
                guidance_scale: keywords.take("guidance_scale")?,
                guidance_rescale: keywords.take("guidance_rescale")?.unwrap_or(0.0),
                guidance_start: keywords.take("guidance_start")?,
                guidance_end: keywords.take("guidance_end")?,
                deepcache_interval: keywords.take("deepcache_interval")?,
                deepcache_branch: keywords.take("deepcache_branch")?,
                clip_skip: keywords.take("clip_skip")?,
                prompt_syntax: syntax.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
                vae_tiling: keywords.take("vae_tiling")?,
                num_images_per_prompt: keywords.take("num_images_per_prompt")?.unwrap_or(1),
                seed: keywords.take("seed")?,
                previews: Previews {
                    every: keywords.take("preview_every")?.unwrap_or(0),
                    decode: keywords.take("decode_previews")?.unwrap_or(false),
                },
            },
            scheduler: keywords.take("scheduler")?,
            options: keywords.scheduler_options()?,
        };
        keywords.finish()?;
        Ok(parameters)
    }

    /// Checks every range.
    pub fn check(self, defaults: &Defaults) -> Result<(GenerationParams, Sampler)> {
        let kind = self.scheduler.as_deref().map(str::parse).transpose()?;
        Ok((GenerationParams::new(self.request, defaults)?, Sampler { kind, options: self.options }))
    }
}
