//! A model in memory, for Python.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffers::{Tensor, tensor};
use super::conditioning::Conditioning;
use super::generation::{Generation, Residency};
use super::parameters::Parameters;
use super::run::{blocking, lock, observed};
use super::step;
use crate::device;
use crate::error::Result;
use crate::family::Published;
use crate::pipeline::{self, Noise, Overrides, Reading};
use crate::progress::CancelToken;
use crate::schedulers;

/// A model in memory. One generation at a time; a second call waits for the first.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Pipeline {
    inner: Mutex<pipeline::Pipeline>,
    model: crate::family::StableDiffusion,
    #[pyo3(get)]
    device: String,
    #[pyo3(get)]
    dtype: &'static str,
    #[pyo3(get)]
    engine: &'static str,
    #[pyo3(get)]
    num_threads: usize,
    residency: Mutex<Vec<device::Residency>>,
}

impl Pipeline {
    fn new(pipeline: pipeline::Pipeline) -> Self {
        Self {
            model: pipeline.model().clone(),
            device: device::name(pipeline.device()),
            dtype: device::dtype_name(pipeline.dtype()),
            engine: pipeline.engine().name(),
            num_threads: pipeline.num_threads(),
            residency: Mutex::new(pipeline.residency()),
            inner: Mutex::new(pipeline),
        }
    }

    fn part<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&pipeline::Pipeline) -> Result<T> + Send) -> PyResult<T> {
        blocking(py, || {
            let pipeline = lock(&self.inner, &CancelToken::new())?;
            let result = work(&pipeline);
            self.note_residency(&pipeline);
            result
        })
    }

    /// Keeps what can be asked while a generation has the pipeline.
    fn note_residency(&self, pipeline: &pipeline::Pipeline) {
        *self.residency.lock().unwrap_or_else(PoisonError::into_inner) = pipeline.residency();
    }

    fn tensor_part(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&pipeline::Pipeline) -> Result<candle_core::Tensor> + Send,
    ) -> PyResult<Tensor> {
        self.part(py, |pipeline| Tensor::from_candle(&work(pipeline)?))
    }
}

#[pymethods]
impl Pipeline {
    #[staticmethod]
    #[expect(clippy::too_many_arguments, reason = "Python gives each by name")]
    #[pyo3(signature = (
        path, *, device = "auto", dtype = "auto", engine = "native", num_threads = None, vae = None, preview_vae = None,
        prediction_type = None, variant = None
    ))]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        device: &str,
        dtype: &str,
        engine: &str,
        num_threads: Option<usize>,
        vae: Option<PathBuf>,
        preview_vae: Option<PathBuf>,
        prediction_type: Option<&str>,
        variant: Option<String>,
    ) -> PyResult<Self> {
        let engine = engine.parse()?;
        let prediction_type = prediction_type.map(str::parse).transpose()?;
        let overrides = Overrides { vae, preview_vae, prediction_type, variant };
        blocking(py, || pipeline::Pipeline::load_with(&path, &overrides, device, dtype, engine, num_threads))
            .map(Self::new)
    }

    #[staticmethod]
    #[pyo3(signature = (shape, *, device = "auto", dtype = "auto", num_threads = None))]
    fn random(py: Python<'_>, shape: &str, device: &str, dtype: &str, num_threads: Option<usize>) -> PyResult<Self> {
        blocking(py, || pipeline::Pipeline::random(shape.parse()?, device, dtype, num_threads)).map(Self::new)
    }

    #[staticmethod]
    fn shapes() -> Vec<&'static str> {
        Published::ALL.iter().map(|shape| shape.name()).collect()
    }

    #[pyo3(signature = (prompt, *, on_step = None, cancel = None, **parameters))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: String,
        on_step: Option<Py<PyAny>>,
        cancel: Option<Py<step::CancelToken>>,
        parameters: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let (params, sampler) = Parameters::extract(py, prompt, parameters)?.check(&self.model.defaults)?;
        let cancel = cancel.map_or_else(CancelToken::new, |token| token.get().0.clone());
        let made = observed(py, on_step, &cancel, |observer, cancel| {
            let mut pipeline = lock(&self.inner, cancel)?;
            let made = pipeline.generate(&params, &sampler, observer, cancel);
            self.note_residency(&pipeline);
            made
        })?;
        Generation::new(py, made, &params)
    }

    #[pyo3(signature = (prompt, **parameters))]
    fn check(&self, py: Python<'_>, prompt: String, parameters: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let (params, sampler) = Parameters::extract(py, prompt, parameters)?.check(&self.model.defaults)?;
        let kind = sampler.kind.unwrap_or(self.model.scheduler.default_kind());
        blocking(py, || {
            let steps = params.num_inference_steps();
            let scheduler = schedulers::create(kind, &self.model.scheduler, steps, &sampler.options)?;
            pipeline::begin_index(&params, scheduler.as_ref()).map(drop)
        })
    }

    #[getter]
    fn defaults<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let defaults = &self.model.defaults;
        let dict = PyDict::new(py);
        dict.set_item("height", defaults.height)?;
        dict.set_item("width", defaults.width)?;
        dict.set_item("num_inference_steps", defaults.num_inference_steps)?;
        dict.set_item("guidance_scale", defaults.guidance_scale)?;
        dict.set_item("scheduler", self.model.scheduler.default_kind().name())?;
        Ok(dict)
    }

    #[getter]
    fn tasks(&self) -> Vec<&'static str> {
        self.model.defaults.tasks.iter().map(|task| task.name()).collect()
    }

    #[getter]
    fn size_multiple(&self) -> usize {
        self.model.defaults.size_multiple
    }

    #[getter]
    fn prediction_type(&self) -> &'static str {
        self.model.scheduler.prediction_type.name()
    }

    #[getter]
    fn residency(&self) -> Vec<Residency> {
        let residency = self.residency.lock().unwrap_or_else(PoisonError::into_inner);
        residency.iter().map(Residency::from).collect()
    }

    fn tokenize(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        self.part(py, |pipeline| pipeline.tokenize(text))
    }

    #[pyo3(signature = (text, *, clip_skip = None, prompt_syntax = "plain"))]
    fn encode_prompt(
        &self,
        py: Python<'_>,
        text: &str,
        clip_skip: Option<usize>,
        prompt_syntax: &str,
    ) -> PyResult<Tensor> {
        let reading = Reading { syntax: prompt_syntax.parse()?, clip_skip };
        self.tensor_part(py, |pipeline| pipeline.encode_prompt(text, reading))
    }

    #[pyo3(signature = (text, *, prompt_syntax = "plain"))]
    fn pooled_prompt(&self, py: Python<'_>, text: &str, prompt_syntax: &str) -> PyResult<Option<Tensor>> {
        let syntax = prompt_syntax.parse()?;
        let pooled = self.part(py, |pipeline| pipeline.pooled_prompt(text, syntax))?;
        Ok(pooled.map(|pooled| Tensor::from_candle(&pooled)).transpose()?)
    }

    #[pyo3(signature = (sample, timestep, embeddings, pooled = None, time_ids = None))]
    fn predict(
        &self,
        py: Python<'_>,
        sample: &Bound<'_, PyAny>,
        timestep: f64,
        embeddings: &Bound<'_, PyAny>,
        pooled: Option<&Bound<'_, PyAny>>,
        time_ids: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Tensor> {
        let sample = tensor("sample", sample, 4)?;
        let conditions = Conditioning::of(embeddings, pooled, time_ids)?;
        self.tensor_part(py, |pipeline| pipeline.predict(&sample, timestep, &conditions))
    }

    #[pyo3(signature = (latents, *, tiled = false))]
    fn vae_decode(&self, py: Python<'_>, latents: &Bound<'_, PyAny>, tiled: bool) -> PyResult<Tensor> {
        let latents = tensor("latents", latents, 4)?;
        self.tensor_part(py, |pipeline| pipeline.vae_decode(&latents, tiled))
    }

    #[pyo3(signature = (pixels, *, seed = None, tiled = false))]
    fn vae_encode(
        &self,
        py: Python<'_>,
        pixels: &Bound<'_, PyAny>,
        seed: Option<u64>,
        tiled: bool,
    ) -> PyResult<Tensor> {
        let pixels = tensor("pixels", pixels, 4)?;
        self.tensor_part(py, |pipeline| {
            let posterior = pipeline.vae_encode(&pixels, tiled)?;
            match seed {
                None => Ok(posterior.mean),
                Some(seed) => posterior.sample(|shape| Noise::new(seed, pixels.device()).draw(shape)),
            }
        })
    }

    #[getter]
    fn flops<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (text, defaults) = (&self.model.text_encoder, &self.model.defaults);
        let (_, height, width) = self.model.latent_shape(defaults.height, defaults.width);
        let dict = PyDict::new(py);
        dict.set_item("predict", self.model.unet.flops(1, (height, width), text.max_position_embeddings))?;
        dict.set_item("vae_decode", self.model.vae.decode_flops((height, width)))?;
        Ok(dict)
    }

    fn latent_shape(&self, height: usize, width: usize) -> (usize, usize, usize) {
        self.model.latent_shape(height, width)
    }

    fn sample_shape(&self, height: usize, width: usize) -> (usize, usize, usize) {
        let (channels, height, width) = self.model.latent_shape(height, width);
        (channels + self.model.inpainting_channels(), height, width)
    }
}
