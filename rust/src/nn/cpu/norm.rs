//! Normalisations; their sums lose nothing at a million elements.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::instruction_set::multiversion;
use super::math::{sigmoid, sum_by};
use super::values;

/// GroupNorm of x (batch, channels, …) with weight and bias (channels), followed by SiLU when asked.
pub struct GroupNorm {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// LayerNorm of x (…, width) with weight and bias (width).
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

multiversion! {
    fn moments(values: &[f32], result: &mut (f64, f64)) {
        let count = values.len() as f64;
        let mean = sum_by(values, |v| v) / count;
        *result = (mean, sum_by(values, |v| (v - mean) * (v - mean)) / count);
    }
}

multiversion! {
    fn scale_shift(source: &[f32], target: &mut [f32], scale: f32, shift: f32, silu: bool) {
        for (target, value) in target.iter_mut().zip(source) {
            let y = value * scale + shift;
            *target = if silu { y * sigmoid(y) } else { y };
        }
    }
}

multiversion! {
    fn normalise_row(source: &[f32], target: &mut [f32], weight: &[f32], bias: &[f32], mean: f32, scale: f32) {
        for (((target, value), weight), bias) in target.iter_mut().zip(source).zip(weight).zip(bias) {
            *target = (value - mean) * scale * weight + bias;
        }
    }
}

fn statistics(values: &[f32], eps: f64) -> (f64, f64) {
    let mut result = (0.0, 0.0);
    moments(values, &mut result);
    (result.0, 1.0 / (result.1 + eps).sqrt())
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [_, channels, rest @ ..] = x_layout.dims() else {
            bail!("group_norm: {:?} has no channels", x_layout.dims())
        };
        let (channels, plane) = (*channels, rest.iter().product::<usize>());
        let (x, weight, bias) = (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
        if channels == 0
            || self.groups == 0
            || channels % self.groups != 0
            || weight.len() != channels
            || bias.len() != channels
        {
            bail!("group_norm: {} groups of {:?}", self.groups, x_layout.dims());
        }
        let in_group = channels / self.groups;
        let mut out = vec![0f32; x.len()];
        if plane > 0 {
            let group = in_group * plane;
            out.par_chunks_mut(group).zip(x.par_chunks(group)).enumerate().for_each(|(index, (target, source))| {
                let (mean, inverse) = statistics(source, self.eps);
                let first = index % self.groups * in_group;
                let planes = target.chunks_exact_mut(plane).zip(source.chunks_exact(plane));
                for ((target, source), channel) in planes.zip(first..) {
                    let scale = inverse * f64::from(weight[channel]);
                    let shift = f64::from(bias[channel]) - mean * scale;
                    scale_shift(source, target, scale as f32, shift as f32, self.silu);
                }
            });
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
        let width = weight.len();
        if width == 0 || x_layout.dims().last() != Some(&width) || bias.len() != width {
            bail!("layer_norm: {width} weights on {:?}", x_layout.dims());
        }
        let mut out = vec![0f32; x.len()];
        let block = width * 16;
        out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(target, source)| {
            for (target, source) in target.chunks_exact_mut(width).zip(source.chunks_exact(width)) {
                let (mean, inverse) = statistics(source, self.eps);
                normalise_row(source, target, weight, bias, mean as f32, inverse as f32);
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction_set::assert_same_bits;
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for count in [1, 7, 32, 100, 5000] {
            let wave = |step: f32| (0..count).map(|i| (i as f32 * step).sin() * 3.0 + 1.0).collect::<Vec<_>>();
            let (x, weight, bias) = (wave(0.37), wave(0.11), wave(0.05));
            assert_same_bits(|set| {
                let mut result = (0.0, 0.0);
                moments::on(set, &x, &mut result);
                let bits = [result.0.to_bits(), result.1.to_bits()];
                bits.iter().flat_map(|bits| [*bits as u32, (bits >> 32) as u32]).map(f32::from_bits).collect()
            });
            for silu in [false, true] {
                assert_same_bits(|set| {
                    let mut y = vec![0f32; count];
                    scale_shift::on(set, &x, &mut y, 1.3, -0.7, silu);
                    y
                });
            }
            assert_same_bits(|set| {
                let mut y = vec![0f32; count];
                normalise_row::on(set, &x, &mut y, &weight, &bias, 0.9, 1.1);
                y
            });
        }
    }
}
