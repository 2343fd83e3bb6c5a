use candle_core::{Module, Tensor};

pub use super::cpu::Activation;
use super::cpu::{self, channels_first, channels_last};
use crate::error::Result;

impl Activation {
    /// Applies the function to every element of `x`, any shape; four dimensions are a feature map.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if cpu::takes(x) {
            return match x.rank() {
                4 => channels_first(&cpu::activate(&channels_last(x)?, self)?),
                _ => cpu::activate(x, self),
            };
        }
        Ok(match self {
            Self::Silu => candle_nn::Activation::Silu.forward(x)?,
            Self::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
            Self::Relu => x.relu()?,
        })
    }
}
