//! Nearest-neighbour upsampling.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};
use rayon::prelude::*;

use super::values;

/// Each pixel of x (batch, channels, h, w) four times: (batch, channels, 2 h, 2 w).
pub struct UpsampleNearest2x;

impl CustomOp1 for UpsampleNearest2x {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = values(x, layout)?;
        let mut out = vec![0f32; x.len() * 4];
        if width > 0 {
            out.par_chunks_mut(4 * width).zip(x.par_chunks(width)).for_each(|(target, source)| {
                let (upper, lower) = target.split_at_mut(2 * width);
                for (pair, value) in upper.chunks_exact_mut(2).zip(source) {
                    pair.fill(*value);
                }
                lower.copy_from_slice(upper);
            });
        }
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, 2 * height, 2 * width))))
    }
}
