//! The Python extension module `sd_rbee._native`; everything that names pyo3 is here.

mod buffers;
mod errors;
mod generation;
mod keywords;
mod parameters;
mod pipeline;
mod run;
mod scheduler;
mod step;

use pyo3::prelude::*;

/// Freshly mapped pages are a large part of the time of a network that allocates every activation; this allocator
/// keeps and reuses them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use super::buffers::{Difference, Image, Tensor, compare};
    #[pymodule_export]
    use super::generation::{Generation, Residency, Truncation};
    #[pymodule_export]
    use super::pipeline::Pipeline;
    #[pymodule_export]
    use super::scheduler::{Generator, Scheduler, Tokenizer};
    #[pymodule_export]
    use super::step::{CancelToken, Step};
    #[pymodule_export]
    use super::{cpu_features, devices, features};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// The build's compiled-in features.
#[pyfunction]
fn features() -> Vec<&'static str> {
    crate::device::features()
}

/// Instruction sets found on this machine.
#[pyfunction]
fn cpu_features() -> Vec<&'static str> {
    crate::device::cpu_features()
}

/// Devices that can be opened now.
#[pyfunction]
fn devices(py: Python<'_>) -> Vec<String> {
    py.detach(crate::device::list)
}
