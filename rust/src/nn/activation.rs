use candle_core::{Module, Tensor};

pub use super::cpu::Activation;
use super::cpu::{self, Gated, Unary};
use crate::error::Result;

impl Activation {
    /// Applies the function to every element of `x`, any shape.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if cpu::takes(x) {
            return Ok(x.contiguous()?.apply_op1_no_bwd(&Unary(self))?);
        }
        Ok(match self {
            Self::Silu => candle_nn::Activation::Silu.forward(x)?,
            Self::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
        })
    }
}

/// `a * gelu(b)` for the halves a and b of the last dimension of `x`, after diffusers' `GEGLU`; gelu is the erf one.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    if cpu::takes(x) {
        return Ok(x.contiguous()?.apply_op1_no_bwd(&Gated)?);
    }
    let halves = x.chunk(2, candle_core::D::Minus1)?;
    Ok((&halves[0] * halves[1].gelu_erf()?)?)
}
