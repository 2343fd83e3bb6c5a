//! Feature maps and sequences.
//!
//! A feature map is (batch, channels, h, w), as diffusers has it. On the CPU its channels lie innermost in memory, so that
//! a pixel is a row of a product; torch calls this `channels_last`. The shape does not tell.

use candle_core::Tensor;
use candle_core::shape::Dim;

use crate::error::Result;

/// The pixels of a feature map (batch, channels, h, w) as a sequence (batch, h * w, channels).
pub fn to_sequence(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?.reshape((batch, height * width, channels))?)
}

/// A feature map (batch, channels, height, width) from a sequence of its pixels (batch, height * width, channels).
pub fn to_feature_map(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, _, channels) = x.dims3()?;
    let map = x.contiguous()?.reshape((batch, height, width, channels))?.permute((0, 3, 1, 2))?;
    // candle's kernels read their input plane by plane.
    Ok(if x.device().is_cpu() { map } else { map.contiguous()? })
}

/// The inputs joined along `dim`; a single one is itself.
pub fn joined<T: AsRef<Tensor>>(inputs: &[T], dim: impl Dim) -> Result<Tensor> {
    match inputs {
        [only] => Ok(only.as_ref().clone()),
        several => Ok(Tensor::cat(several, dim)?),
    }
}
