//! The Python extension module `sd_rbee._native`; everything that names pyo3 is here.

mod buffers;
mod conditioning;
mod errors;
mod generation;
mod keywords;
mod parameters;
mod pipeline;
mod run;
mod scheduler;
mod step;

use std::time::Duration;

use pyo3::prelude::*;

use crate::allocator::Recycling;
use crate::error::Error;
use crate::instruction_set::InstructionSet;
use crate::nn::cpu::{self, Products};
use crate::threads::Threads;
use run::blocking;

/// Freshly mapped pages are a large part of the time of a network that allocates every activation; these allocators
/// keep and reuse them.
#[global_allocator]
static ALLOCATOR: Recycling<mimalloc::MiMalloc> = Recycling::new(mimalloc::MiMalloc);

/// Longest probe of the machine's peak.
const MAX_PROBE_SECONDS: f64 = 60.0;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::allocator::measure_with(&super::ALLOCATOR);
        Ok(())
    }

    use pyo3::prelude::*;

    #[pymodule_export]
    use super::buffers::{Difference, Image, Tensor, compare};
    #[pymodule_export]
    use super::conditioning::Conditioning;
    #[pymodule_export]
    use super::generation::{Generation, Residency, Truncation};
    #[pymodule_export]
    use super::pipeline::Pipeline;
    #[pymodule_export]
    use super::scheduler::{Generator, Scheduler, Tokenizer};
    #[pymodule_export]
    use super::step::{CancelToken, Step};
    #[pymodule_export]
    use super::{cpu_features, devices, features, instruction_set, instruction_sets, num_threads, peak_flops};

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

/// The instruction set that the kernels use.
#[pyfunction]
fn instruction_set() -> PyResult<&'static str> {
    InstructionSet::check()?;
    Ok(InstructionSet::best().name())
}

/// The instruction sets that SD_RBEE_CPU may name on this machine, the best last.
#[pyfunction]
fn instruction_sets() -> Vec<&'static str> {
    InstructionSet::all().into_iter().map(InstructionSet::name).collect()
}

/// Devices that can be opened now.
#[pyfunction]
fn devices(py: Python<'_>) -> Vec<String> {
    py.detach(crate::device::list)
}

/// Threads that compute on the CPU.
#[pyfunction]
#[pyo3(signature = (count = None))]
fn num_threads(py: Python<'_>, count: Option<usize>) -> PyResult<usize> {
    blocking(py, || Ok(Threads::new(count)?.count()))
}

/// Floating-point operations a second that this machine reaches at most.
#[pyfunction]
#[pyo3(signature = (dtype, seconds, *, num_threads = None))]
fn peak_flops(py: Python<'_>, dtype: &str, seconds: f64, num_threads: Option<usize>) -> PyResult<f64> {
    blocking(py, || {
        let products = match dtype {
            "f32" => Products::F32,
            "bf16" => Products::Bf16,
            _ => return Err(Error::invalid("dtype", dtype, "f32 or bf16")),
        };
        if !(0.0..=MAX_PROBE_SECONDS).contains(&seconds) {
            return Err(Error::invalid("seconds", seconds, format!("0 to {MAX_PROBE_SECONDS}")));
        }
        InstructionSet::check()?;
        let threads = Threads::new(num_threads)?;
        Ok(threads.run(|| cpu::peak_flops(products, Duration::from_secs_f64(seconds))))
    })
}
