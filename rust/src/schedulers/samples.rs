//! Arithmetic on samples, in f32 whatever their dtype.

use candle_core::{DType, Tensor};

use super::choices::PredictionType;
use crate::error::{Error, Result};

/// The precomputed values of step `index`.
pub(super) fn at<T>(steps: &[T], index: usize) -> Result<&T> {
    steps.get(index).ok_or_else(|| Error::Inference(format!("scheduler: step {index} of a run of {}", steps.len())))
}

/// The network's output and the sample in f32.
pub(super) fn to_f32(model_output: &Tensor, sample: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((model_output.to_dtype(DType::F32)?, sample.to_dtype(DType::F32)?))
}

/// `x / y` element by element. candle divides by a number by multiplying with its reciprocal, whose rounding steps
/// from large sigmas would blow up.
pub(super) fn divide(x: &Tensor, y: f32) -> Result<Tensor> {
    Ok(x.broadcast_div(&Tensor::new(y, x.device())?)?)
}

/// `a * x + b * y`.
pub(super) fn combine(a: f32, x: &Tensor, b: f32, y: &Tensor) -> Result<Tensor> {
    Ok(((x * f64::from(a))? + (y * f64::from(b))?)?)
}

/// `a * original + b * noise` in the dtype of `original`.
pub(super) fn noised(a: f32, original: &Tensor, b: f32, noise: &Tensor) -> Result<Tensor> {
    let (noise, sample) = to_f32(noise, original)?;
    Ok(combine(a, &sample, b, &noise)?.to_dtype(original.dtype())?)
}

/// `x` within plus and minus `range`.
pub(super) fn clip(x: Tensor, range: Option<f64>) -> Result<Tensor> {
    match range {
        Some(range) => Ok(x.clamp(-range, range)?),
        None => Ok(x),
    }
}

impl PredictionType {
    /// The clean sample, where `sample` is `alpha` times it plus `sigma` times unit noise; all in f32.
    pub(super) fn original(self, alpha: f32, sigma: f32, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        match self {
            Self::Epsilon => divide(&combine(1.0, sample, -sigma, output)?, alpha),
            Self::Sample => Ok(output.clone()),
            Self::VPrediction => combine(alpha, sample, -sigma, output),
        }
    }

    /// The clean sample, where `sample` is it plus `sigma` times unit noise; all in f32.
    pub(super) fn original_at(self, sigma: f32, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        match self {
            Self::Epsilon => combine(1.0, sample, -sigma, output),
            Self::Sample => Ok(output.clone()),
            Self::VPrediction => {
                let square = sigma * sigma + 1.0;
                Ok(((output * f64::from(-sigma / square.sqrt()))? + divide(sample, square)?)?)
            }
        }
    }

    /// The noise, as [`Self::original`] has the clean sample.
    pub(super) fn epsilon(self, alpha: f32, sigma: f32, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        match self {
            Self::Epsilon => Ok(output.clone()),
            Self::Sample => divide(&combine(1.0, sample, -alpha, output)?, sigma),
            Self::VPrediction => combine(alpha, output, sigma, sample),
        }
    }
}

/// `sample / (sigma ** 2 + 1) ** 0.5`: a sample of unit variance.
pub(super) fn unit_variance(sample: &Tensor, sigma: f32) -> Result<Tensor> {
    Ok(divide(&sample.to_dtype(DType::F32)?, (sigma * sigma + 1.0).sqrt())?.to_dtype(sample.dtype())?)
}
