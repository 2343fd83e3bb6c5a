//! Progress out, the cancel flag in.

use pyo3::prelude::*;

use super::buffers::Image;
use crate::progress;

/// A flag that stops a generation; may be set from any thread.
#[pyclass(frozen, module = "sd_rbee._native")]
#[derive(Default)]
pub struct CancelToken(pub progress::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// One finished unit of work.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Step(pub progress::Step);

#[pymethods]
impl Step {
    #[getter]
    fn phase(&self) -> &'static str {
        self.0.phase.name()
    }

    #[getter]
    fn image(&self) -> usize {
        self.0.image
    }

    #[getter]
    fn step(&self) -> usize {
        self.0.step
    }

    #[getter]
    fn total(&self) -> usize {
        self.0.total
    }

    #[getter]
    fn elapsed(&self) -> f64 {
        self.0.elapsed.as_secs_f64()
    }

    #[getter]
    fn eta(&self) -> Option<f64> {
        self.0.eta.map(|eta| eta.as_secs_f64())
    }

    #[getter]
    fn preview(&self) -> Option<Image> {
        self.0.preview.clone().map(Image::from)
    }

    fn __repr__(&self) -> String {
        let progress::Step { phase, step, total, .. } = &self.0;
        format!("Step(phase='{}', step={step}, total={total})", phase.name())
    }
}
