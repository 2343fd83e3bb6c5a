use candle_core::{Module, Tensor};

use super::cpu;
use super::layout::joined;
use super::weights::Weights;
use crate::error::Result;

/// Fully connected layer, `y = x W^T + b`.
pub struct Linear(Kernel);

enum Kernel {
    Cpu(cpu::Linear),
    Candle(candle_nn::Linear),
}

/// GEGLU (Shazeer 2020), after diffusers' class: a linear layer whose first half is multiplied by gelu of the second.
pub struct Geglu(GegluKernel);

enum GegluKernel {
    Cpu(Box<cpu::Geglu>),
    Candle(candle_nn::Linear),
}

impl Linear {
    /// Takes `weight` (outputs, inputs), also where it is stored as a 1x1 convolution, and `bias` (outputs).
    pub fn new(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        let bias = weights.get(&[outputs], "bias")?;
        Self::with_bias(weights, inputs, outputs, Some(bias))
    }

    /// Takes `weight` (outputs, inputs) alone.
    pub fn without_bias(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        Self::with_bias(weights, inputs, outputs, None)
    }

    fn with_bias(weights: &Weights, inputs: usize, outputs: usize, bias: Option<Tensor>) -> Result<Self> {
        let weight = weights.get_reshaped(&[outputs, inputs], &[outputs, inputs, 1, 1], "weight")?;
        let packed = weights.pack(&weight, |products, values| {
            let bias = bias.as_ref().map(cpu::Values::of).transpose()?;
            let packed = cpu::Linear::new(products, values, outputs, inputs, bias.as_deref())?;
            let bytes = packed.bytes();
            Ok((packed, bytes))
        })?;
        Ok(Self(packed.map_or_else(|| Kernel::Candle(candle_nn::Linear::new(weight, bias)), Kernel::Cpu)))
    }

    /// (…, inputs) to (…, outputs).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_joined(&[x], None)
    }

    /// [`Linear::forward`] plus `residual` (…, outputs).
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.forward_joined(&[x], Some(residual))
    }

    /// [`Linear::forward`] of inputs joined along their last dimension, plus `residual` where there is one.
    pub(super) fn forward_joined(&self, inputs: &[&Tensor], residual: Option<&Tensor>) -> Result<Tensor> {
        match &self.0 {
            Kernel::Cpu(linear) => linear.forward(inputs, residual),
            Kernel::Candle(linear) => {
                let y = linear.forward(&joined(inputs, candle_core::D::Minus1)?)?;
                Ok(match residual {
                    Some(residual) => (y + residual)?,
                    None => y,
                })
            }
        }
    }
}

impl Geglu {
    /// Takes `weight` (2 outputs, inputs) and `bias` (2 outputs).
    pub fn new(weights: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        let (weight, bias) = (weights.get(&[2 * outputs, inputs], "weight")?, weights.get(&[2 * outputs], "bias")?);
        let packed = weights.pack(&weight, |products, values| {
            let packed = cpu::Geglu::new(products, values, outputs, inputs, &cpu::Values::of(&bias)?)?;
            let bytes = packed.bytes();
            Ok((packed, bytes))
        })?;
        let candle = || GegluKernel::Candle(candle_nn::Linear::new(weight.clone(), Some(bias.clone())));
        Ok(Self(packed.map_or_else(candle, |packed| GegluKernel::Cpu(Box::new(packed)))))
    }

    /// (…, inputs) to (…, outputs).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            GegluKernel::Cpu(geglu) => geglu.forward(x),
            GegluKernel::Candle(linear) => {
                let halves = linear.forward(x)?.chunk(2, candle_core::D::Minus1)?;
                Ok((&halves[0] * halves[1].gelu_erf()?)?)
            }
        }
    }
}
