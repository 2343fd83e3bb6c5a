//! The parameters of a generation as Python gives them.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::scheduler::options;
use crate::error::Result;
use crate::params::{Defaults, GenerationParams, Previews, Request};
use crate::pipeline::Sampler;

/// Keyword arguments; what is absent or None is the model's own.
pub struct Parameters {
    request: Request,
    scheduler: Option<String>,
    eta: Option<f64>,
    timestep_spacing: Option<String>,
    use_karras_sigmas: Option<bool>,
}

/// Keyword arguments that are taken out one by one, so that what is left is what nobody knows.
struct Keywords<'py>(Bound<'py, PyDict>);

impl<'py> Keywords<'py> {
    fn take<T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(value) = self.0.get_item(name)? else { return Ok(None) };
        self.0.del_item(name)?;
        if value.is_none() { Ok(None) } else { value.extract().map(Some) }
    }

    fn finish(&self) -> PyResult<()> {
        match self.0.keys().iter().next() {
            Some(name) => Err(PyTypeError::new_err(format!("unexpected keyword argument {}", name.repr()?))),
            None => Ok(()),
        }
    }
}

impl Parameters {
    /// Takes the keyword arguments of a call.
    pub fn extract(py: Python<'_>, prompt: String, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let keywords = Keywords(keywords.map_or_else(|| Ok(PyDict::new(py)), |given| given.copy())?);
        let parameters = Self {
            request: Request {
                prompt,
                negative_prompt: keywords.take("negative_prompt")?,
                height: keywords.take("height")?,
                width: keywords.take("width")?,
                num_inference_steps: keywords.take("num_inference_steps")?,
                guidance_scale: keywords.take("guidance_scale")?,
                guidance_start: keywords.take("guidance_start")?,
                guidance_end: keywords.take("guidance_end")?,
                deepcache_interval: keywords.take("deepcache_interval")?,
                deepcache_branch: keywords.take("deepcache_branch")?,
                num_images_per_prompt: keywords.take("num_images_per_prompt")?.unwrap_or(1),
                seed: keywords.take("seed")?,
                previews: Previews {
                    every: keywords.take("preview_every")?.unwrap_or(0),
                    decode: keywords.take("decode_previews")?.unwrap_or(false),
                },
            },
            scheduler: keywords.take("scheduler")?,
            eta: keywords.take("eta")?,
            timestep_spacing: keywords.take("timestep_spacing")?,
            use_karras_sigmas: keywords.take("use_karras_sigmas")?,
        };
        keywords.finish()?;
        Ok(parameters)
    }

    /// Checks every range.
    pub fn check(self, defaults: &Defaults) -> Result<(GenerationParams, Sampler)> {
        let kind = self.scheduler.as_deref().map(str::parse).transpose()?;
        let options = options(self.eta.unwrap_or(0.0), self.timestep_spacing.as_deref(), self.use_karras_sigmas)?;
        Ok((GenerationParams::new(self.request, defaults)?, Sampler { kind, options }))
    }
}
