use candle_core::{D, Device, Tensor};

use super::cpu;
use crate::error::{Error, Result};

/// How queries, keys and values are to be read.
#[derive(Debug, Clone, Copy)]
pub struct AttentionShape {
    /// Number of heads; the width of queries, keys and values is `heads * dim`.
    pub heads: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
}

/// Scaled dot-product attention: `softmax(q k^T / sqrt(dim)) v`, head by head.
///
/// `q` is (batch, n, width), `k` and `v` are (batch, m, width); the result is (batch, n, width).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    if shape.heads == 0 || width % shape.heads != 0 {
        return Err(Error::Inference(format!("attention: {} heads of width {width}", shape.heads)));
    }
    let dim = width / shape.heads;
    let scale = 1.0 / (dim as f64).sqrt();
    if cpu::takes(q) {
        let op = cpu::Attention { heads: shape.heads, scale: scale as f32, causal: shape.causal };
        return Ok(q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &op)?);
    }
    let split = |x: &Tensor| -> Result<Tensor> {
        let (batch, length, _) = x.dims3()?;
        Ok(x.reshape((batch, length, shape.heads, dim))?.transpose(1, 2)?.contiguous()?)
    };
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let mut scores = (q.matmul(&k.t()?)? * scale)?;
    if shape.causal {
        scores = scores.broadcast_add(&causal_mask(queries, q.device())?.to_dtype(scores.dtype())?)?;
    }
    let mixed = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
    Ok(mixed.transpose(1, 2)?.reshape((batch, queries, width))?)
}

fn causal_mask(length: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> = (0..length * length)
        .map(|index| if index % length > index / length { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Ok(Tensor::from_vec(mask, (length, length), device)?)
}
