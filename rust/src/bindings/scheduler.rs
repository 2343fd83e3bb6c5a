//! Schedules, random numbers and tokens by themselves.

use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::Device;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffers::{Tensor, tensor};
use crate::error::{Error, Result};
use crate::progress::CancelToken;
use crate::rng::TorchGenerator;
use crate::schedulers::{self, SchedulerConfig, SchedulerKind};
use crate::tokenizer::{CLIP_PAD, ClipTokenizer};

use super::keywords::Keywords;
use super::run::{blocking, lock};

/// Most values of one draw.
const MAX_VALUES: usize = 1 << 28;

/// A sampling schedule, by itself.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Scheduler(Mutex<Box<dyn schedulers::Scheduler>>);

impl Scheduler {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut dyn schedulers::Scheduler) -> Result<T> + Send,
    ) -> PyResult<T> {
        blocking(py, || work(lock(&self.0, &CancelToken::new())?.as_mut()))
    }

    fn check_index(scheduler: &dyn schedulers::Scheduler, index: usize) -> Result<()> {
        let steps = scheduler.timesteps().len();
        if index < steps { Ok(()) } else { Err(Error::invalid("index", index, format!("0 to {}", steps - 1))) }
    }
}

#[pymethods]
impl Scheduler {
    #[new]
    #[pyo3(signature = (name, config, num_inference_steps, **options))]
    fn new(
        name: &str,
        config: &Bound<'_, PyAny>,
        num_inference_steps: usize,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let keywords = Keywords::new(config.py(), options)?;
        let options = keywords.scheduler_options()?;
        keywords.finish()?;
        let json = config.py().import("json")?;
        let text: String = json.call_method1("dumps", (config,))?.extract()?;
        let scheduler =
            schedulers::create(name.parse()?, &SchedulerConfig::parse(&text)?, num_inference_steps, &options)?;
        Ok(Self(Mutex::new(scheduler)))
    }

    #[staticmethod]
    fn names() -> Vec<&'static str> {
        SchedulerKind::ALL.iter().map(|kind| kind.name()).collect()
    }

    #[getter]
    fn timesteps(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        self.with(py, |scheduler| Ok(scheduler.timesteps().to_vec()))
    }

    #[getter]
    fn sigmas(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        self.with(py, |scheduler| Ok(scheduler.sigmas().to_vec()))
    }

    #[getter]
    fn init_noise_sigma(&self, py: Python<'_>) -> PyResult<f64> {
        self.with(py, |scheduler| Ok(scheduler.init_noise_sigma()))
    }

    #[getter]
    fn order(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |scheduler| Ok(scheduler.order()))
    }

    fn scale_model_input(&self, py: Python<'_>, sample: &Bound<'_, PyAny>, index: usize) -> PyResult<Tensor> {
        let sample = tensor("sample", sample, 4)?;
        self.with(py, |scheduler| {
            Self::check_index(scheduler, index)?;
            Tensor::from_candle(&scheduler.scale_model_input(&sample, index)?)
        })
    }

    fn add_noise(
        &self,
        py: Python<'_>,
        original: &Bound<'_, PyAny>,
        noise: &Bound<'_, PyAny>,
        index: usize,
    ) -> PyResult<Tensor> {
        let (original, noise) = (tensor("original", original, 4)?, tensor("noise", noise, 4)?);
        self.with(py, |scheduler| {
            Self::check_index(scheduler, index)?;
            Tensor::from_candle(&scheduler.add_noise(&original, &noise, index)?)
        })
    }

    fn step(
        &self,
        py: Python<'_>,
        model_output: &Bound<'_, PyAny>,
        index: usize,
        sample: &Bound<'_, PyAny>,
        generator: &Bound<'_, Generator>,
    ) -> PyResult<Tensor> {
        let (output, sample) = (tensor("model_output", model_output, 4)?, tensor("sample", sample, 4)?);
        let generator = &generator.get().0;
        self.with(py, |scheduler| {
            Self::check_index(scheduler, index)?;
            let mut generator = lock(generator, &CancelToken::new())?;
            let mut noise = |shape: &candle_core::Shape| {
                let values = generator.randn(shape.elem_count());
                Ok(candle_core::Tensor::from_vec(values, shape, &Device::Cpu)?)
            };
            Tensor::from_candle(&scheduler.step(&output, index, &sample, &mut noise)?.prev_sample)
        })
    }
}

/// torch's CPU generator, bit for bit.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Generator(Mutex<TorchGenerator>);

#[pymethods]
impl Generator {
    #[new]
    fn new(seed: u64) -> Self {
        Self(Mutex::new(TorchGenerator::new(seed)))
    }

    fn randn(&self, py: Python<'_>, shape: Vec<usize>) -> PyResult<Tensor> {
        let values = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length));
        let values = values.filter(|values| *values <= MAX_VALUES).ok_or_else(|| {
            Error::invalid("shape", format!("{shape:?}"), format!("at most {MAX_VALUES} values in all"))
        })?;
        if !(1..=5).contains(&shape.len()) {
            return Err(Error::invalid("shape", format!("{shape:?}"), "1 to 5 dimensions").into());
        }
        blocking(py, || {
            let drawn = lock(&self.0, &CancelToken::new())?.randn(values);
            Ok(Tensor::from_values(drawn, &shape))
        })
    }
}

/// CLIP's byte-level BPE, from a folder with tokenizer.json or vocab.json and merges.txt, or CLIP's own.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Tokenizer(ClipTokenizer);

#[pymethods]
impl Tokenizer {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        blocking(py, || ClipTokenizer::from_folder(&folder).map(Self))
    }

    #[staticmethod]
    fn clip(py: Python<'_>) -> PyResult<Self> {
        blocking(py, || ClipTokenizer::clip(CLIP_PAD).map(Self))
    }

    fn encode(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        blocking(py, || self.0.encode(text, "text"))
    }
}
