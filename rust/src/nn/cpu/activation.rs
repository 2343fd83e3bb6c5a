//! Elementwise functions.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::instruction_set::multiversion;
use super::math::{erf, sigmoid};
use super::values;

/// Elements that one task takes.
const BLOCK: usize = 1 << 14;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * sigmoid(1.702 x)`
    QuickGelu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`
    Gelu,
}

/// An [`Activation`] of every element.
pub struct Unary(pub Activation);

/// GEGLU of x (…, 2 d): `x[..d] * gelu(x[d..])`, (…, d).
pub struct Gated;

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

multiversion! {
    fn map(source: &[f32], target: &mut [f32], activation: Activation) {
        let pairs = target.iter_mut().zip(source);
        match activation {
            Activation::Silu => pairs.for_each(|(y, x)| *y = x * sigmoid(*x)),
            Activation::QuickGelu => pairs.for_each(|(y, x)| *y = x * sigmoid(1.702 * x)),
            Activation::Gelu => pairs.for_each(|(y, x)| *y = gelu(*x)),
        }
    }
}

multiversion! {
    fn gate(value: &[f32], gate: &[f32], target: &mut [f32]) {
        for ((y, value), gate) in target.iter_mut().zip(value).zip(gate) {
            *y = value * gelu(*gate);
        }
    }
}

impl CustomOp1 for Unary {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(target, source)| map(source, target, self.0));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut dims = layout.dims().to_vec();
        let Some(last) = dims.last_mut().filter(|last| **last % 2 == 0 && **last > 0) else {
            bail!("geglu: {:?} has no two halves", layout.dims())
        };
        *last /= 2;
        let width = *last;
        let mut out = vec![0f32; x.len() / 2];
        let rows = (BLOCK / width).max(1);
        out.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width * 2)).for_each(|(target, source)| {
            for (target, source) in target.chunks_exact_mut(width).zip(source.chunks_exact(width * 2)) {
                let (value, gates) = source.split_at(width);
                gate(value, gates, target);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from(dims)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruction_set::assert_same_bits;
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37).sin() * 20.0).chain([f32::INFINITY, -0.0, 1e-40]).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for count in [0, 1, 7, 16, 33, 1000] {
            let x = values(count);
            for activation in [Activation::Silu, Activation::QuickGelu, Activation::Gelu] {
                assert_same_bits(|set| {
                    let mut y = vec![0f32; x.len()];
                    map::on(set, &x, &mut y, activation);
                    y
                });
            }
            let gates: Vec<f32> = x.iter().map(|value| value * 0.3).collect();
            assert_same_bits(|set| {
                let mut y = vec![0f32; x.len()];
                gate::on(set, &x, &gates, &mut y);
                y
            });
        }
    }
}
