use candle_core::Tensor;

use super::cpu;
use crate::error::Result;

/// Nearest-neighbour upsampling of (batch, channels, h, w) to twice the height and width.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    if cpu::takes(x) {
        return Ok(x.contiguous()?.apply_op1_no_bwd(&cpu::UpsampleNearest2x)?);
    }
    let (_, _, height, width) = x.dims4()?;
    Ok(x.upsample_nearest2d(2 * height, 2 * width)?)
}
