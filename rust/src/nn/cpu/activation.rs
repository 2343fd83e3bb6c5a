//! Elementwise functions.

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::Output;
use super::dispatch::multiversion;
use super::math::{gelu, sigmoid};
use super::tensors::{Values, tensor};
use crate::error::Result;

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
    /// `max(x, 0)`, NaN where x is
    Relu,
}

multiversion! {
    fn map(source: &[f32], target: &mut [f32], activation: Activation) {
        let pairs = target.iter_mut().zip(source);
        match activation {
            Activation::Silu => pairs.for_each(|(y, x)| *y = x * sigmoid(*x)),
            Activation::QuickGelu => pairs.for_each(|(y, x)| *y = x * sigmoid(1.702 * x)),
            Activation::Gelu => pairs.for_each(|(y, x)| *y = gelu(*x)),
            Activation::Relu => pairs.for_each(|(y, x)| *y = if *x < 0.0 { 0.0 } else { *x }),
        }
    }
}

/// An [`Activation`] of every element of `x`.
///
/// # Errors
/// [`crate::Error::Inference`] if `x` is not f32.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = x.contiguous()?;
    let values = Values::of(&x)?;
    let mut output = Output::new(values.len());
    let out = output.shared();
    values.par_chunks(BLOCK).enumerate().for_each(|(index, source)| {
        // SAFETY: each task writes its own part.
        let target = unsafe { std::slice::from_raw_parts_mut(out.at(index * BLOCK), source.len()) };
        map(source, target, activation);
    });
    // SAFETY: every element has been written.
    unsafe { tensor(output, x.shape().clone()) }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::assert_same_bits;
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37).sin() * 20.0).chain([f32::INFINITY, -0.0, 1e-40]).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for count in [0, 1, 7, 16, 33, 1000] {
            let x = values(count);
            for activation in [Activation::Silu, Activation::QuickGelu, Activation::Gelu, Activation::Relu] {
                assert_same_bits(|set| {
                    let mut y = vec![0f32; x.len()];
                    map::on(set, &x, &mut y, activation);
                    y
                });
            }
        }
    }
}
