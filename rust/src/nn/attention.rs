use candle_core::{D, Device, Tensor};

use super::cpu;
use super::weights::Weights;
use crate::error::{Error, Result};

/// Scaled dot-product attention: `softmax(q k^T / sqrt(dim)) v`, head by head.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    kernel: Option<cpu::Attention>,
    heads: usize,
    causal: bool,
}

impl Attention {
    /// Computes as the layers of `weights` do. The width of queries, keys and values is a multiple of `heads`; when
    /// `causal`, a query sees only keys up to its own position.
    pub fn new(weights: &Weights, heads: usize, causal: bool) -> Self {
        let kernel =
            weights.products().map(|products| cpu::Attention { products: products.of_floats(), heads, causal });
        Self { kernel, heads, causal }
    }

    /// `q` is (batch, n, width), `k` and `v` are (batch, m, width); the result is (batch, n, width).
    pub fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        if let Some(kernel) = self.kernel {
            return kernel.forward(q, k, v);
        }
        let (batch, queries, width) = q.dims3()?;
        if self.heads == 0 || width % self.heads != 0 {
            return Err(Error::Inference(format!("attention: {} heads of width {width}", self.heads)));
        }
        let dim = width / self.heads;
        let split = |x: &Tensor| -> Result<Tensor> {
            let (batch, length, _) = x.dims3()?;
            Ok(x.reshape((batch, length, self.heads, dim))?.transpose(1, 2)?.contiguous()?)
        };
        let (q, k, v) = (split(q)?, split(k)?, split(v)?);
        let mut scores = (q.matmul(&k.t()?)? * (1.0 / (dim as f64).sqrt()))?;
        if self.causal {
            scores = scores.broadcast_add(&causal_mask(queries, q.device())?.to_dtype(scores.dtype())?)?;
        }
        let mixed = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
        Ok(mixed.transpose(1, 2)?.reshape((batch, queries, width))?)
    }
}

fn causal_mask(length: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> = (0..length * length)
        .map(|index| if index % length > index / length { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Ok(Tensor::from_vec(mask, (length, length), device)?)
}
