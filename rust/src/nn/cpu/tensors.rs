//! The values inside candle's tensors, and back.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor};

use super::buffer::Output;
use crate::error::{Error, Result};

/// Whether the kernels here take `tensor`: f32 on the CPU.
pub fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The values of a tensor, in the order of its shape.
pub struct Values<'a> {
    guard: Box<dyn Deref<Target = Storage> + 'a>,
    range: std::ops::Range<usize>,
}

impl<'a> Values<'a> {
    /// Reads `tensor`, which must be contiguous f32 on the CPU.
    ///
    /// # Errors
    /// [`Error::Inference`] if it is not.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (guard, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(Error::Inference("the CPU kernels take contiguous tensors only".into()));
        };
        match &*guard {
            Storage::Cpu(CpuStorage::F32(values)) if end <= values.len() => {
                Ok(Self { guard: Box::new(guard), range: start..end })
            }
            _ => Err(Error::Inference("the CPU kernels take f32 only".into())),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &**self.guard {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[],
        }
    }
}

/// A feature map (batch, channels, h, w) with its channels innermost: a contiguous (batch, h, w, channels).
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}

/// A feature map (batch, channels, h, w) from one with its channels innermost.
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 3, 1, 2))?)
}

/// A tensor of `shape` with the values of `output`.
///
/// # Safety
/// All of them have been written.
pub unsafe fn tensor(output: Output, shape: impl Into<Shape>) -> Result<Tensor> {
    // SAFETY: by the caller's promise.
    let values = unsafe { output.finish() };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
