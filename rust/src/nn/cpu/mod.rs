//! f32 kernels for the CPU, one file an operation, as custom operations of candle.
//!
//! Every kernel splits its work by the shape alone, never by the number of threads, so that a result has the same
//! bits on any number of threads.

mod activation;
mod attention;
mod conv2d;
mod gemm;
mod instruction_set;
mod linear;
mod math;
mod norm;
mod upsample;

pub use activation::{Activation, Gated, Unary};
pub use attention::Attention;
pub use conv2d::Conv2d;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use upsample::UpsampleNearest2x;

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};

/// Whether the kernels here take `tensor`: f32 on the CPU.
pub fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(all) = storage else { bail!("the CPU kernels take f32 only") };
    match layout.contiguous_offsets().and_then(|(from, to)| all.get(from..to)) {
        Some(values) => Ok(values),
        None => bail!("the CPU kernels take contiguous tensors only"),
    }
}
