//! What a generation made, and where a model's bytes are.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffers::Image;
use crate::device;
use crate::params::GenerationParams;
use crate::pipeline;
use crate::schedulers::TimestepSpacing;

/// A prompt that was longer than the text encoder's window.
#[pyclass(frozen, get_all, module = "sd_rbee._native")]
pub struct Truncation {
    prompt: &'static str,
    kept: usize,
    total: usize,
    dropped_text: String,
}

/// Where the bytes of one component are.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Residency {
    #[pyo3(get)]
    component: &'static str,
    #[pyo3(get)]
    device: String,
    #[pyo3(get)]
    dtype: &'static str,
    #[pyo3(get)]
    stored_dtype: &'static str,
    #[pyo3(get)]
    tensors: usize,
    #[pyo3(get)]
    bytes: usize,
    #[pyo3(get)]
    storage: &'static str,
    text: String,
}

#[pymethods]
impl Residency {
    fn __str__(&self) -> &str {
        &self.text
    }
}

impl From<&device::Residency> for Residency {
    fn from(residency: &device::Residency) -> Self {
        let text = residency.to_string();
        let device::Residency { component, device, dtype, stored_dtype, tensors, bytes, storage } = residency.clone();
        Self { component, device, dtype, stored_dtype, tensors, bytes, storage, text }
    }
}

/// What one call of `Pipeline.generate` made.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Generation {
    #[pyo3(get)]
    images: Vec<Py<Image>>,
    #[pyo3(get)]
    seeds: Vec<u64>,
    #[pyo3(get)]
    timings: Py<PyDict>,
    #[pyo3(get)]
    peak_memory: Py<PyDict>,
    #[pyo3(get)]
    truncations: Vec<Py<Truncation>>,
    #[pyo3(get)]
    warnings: Vec<String>,
    #[pyo3(get)]
    residency_events: Vec<String>,
    #[pyo3(get)]
    parameters: Py<PyDict>,
}

impl Generation {
    pub fn new(py: Python<'_>, made: pipeline::Generation, params: &GenerationParams) -> PyResult<Self> {
        let timings = PyDict::new(py);
        for (phase, time) in &made.timings {
            timings.set_item(phase.name(), time.as_secs_f64())?;
        }
        timings.set_item("total", made.total.as_secs_f64())?;
        let peak_memory = PyDict::new(py);
        for (phase, bytes) in &made.peak_memory {
            peak_memory.set_item(phase.name(), bytes)?;
        }
        let parameters = PyDict::new(py);
        parameters.set_item("task", params.task().name())?;
        parameters.set_item("strength", params.strength())?;
        parameters.set_item("width", params.width())?;
        parameters.set_item("height", params.height())?;
        parameters.set_item("num_inference_steps", params.num_inference_steps())?;
        parameters.set_item("guidance_scale", params.guidance_scale())?;
        parameters.set_item("guidance_rescale", params.guidance_rescale())?;
        parameters.set_item("guidance_start", params.guidance_interval().start())?;
        parameters.set_item("guidance_end", params.guidance_interval().end())?;
        parameters.set_item("deepcache_interval", params.deepcache().interval())?;
        parameters.set_item("deepcache_branch", params.deepcache().branch())?;
        parameters.set_item("clip_skip", params.clip_skip())?;
        parameters.set_item("prompt_syntax", params.prompt_syntax().name())?;
        parameters.set_item("vae_tiling", made.vae_tiling)?;
        parameters.set_item("scheduler", made.scheduler.name())?;
        parameters.set_item("eta", made.options.eta)?;
        parameters.set_item("timestep_spacing", made.options.timestep_spacing.map(TimestepSpacing::name))?;
        parameters.set_item("use_karras_sigmas", made.options.use_karras_sigmas)?;
        parameters.set_item("use_exponential_sigmas", made.options.use_exponential_sigmas)?;
        parameters.set_item("use_beta_sigmas", made.options.use_beta_sigmas)?;
        parameters.set_item("rescale_betas_zero_snr", made.options.rescale_betas_zero_snr)?;
        let truncation = |cut: pipeline::PromptTruncation| {
            let crate::tokenizer::Truncation { kept, total, dropped_text } = cut.truncation;
            Py::new(py, Truncation { prompt: cut.field, kept, total, dropped_text })
        };
        Ok(Self {
            images: made.images.into_iter().map(|image| Py::new(py, Image::from(image))).collect::<PyResult<_>>()?,
            seeds: made.seeds,
            timings: timings.unbind(),
            peak_memory: peak_memory.unbind(),
            truncations: made.truncations.into_iter().map(truncation).collect::<PyResult<_>>()?,
            warnings: made.warnings,
            residency_events: made.residency_events,
            parameters: parameters.unbind(),
        })
    }
}
