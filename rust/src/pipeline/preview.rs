//! What an image looks like half way.

use candle_core::{DType, Device, Tensor};

use super::Pipeline;
use super::decode::decode_by;
use crate::error::{Error, Result};
use crate::image::Rgb8;
use crate::progress::CancelToken;
use crate::rng::TorchGenerator;

/// Pictures, and their height and width in latent positions, that colours are learned from.
const LESSONS: (usize, usize) = (4, 8);
/// Added to the normal equations' diagonal, so that latent channels that never change do not matter.
const RIDGE: f64 = 1e-3;

/// A linear estimate of a latent position's mean colour: a weight for each channel, and a constant, a colour.
///
/// Fitted to what the model's own VAE makes of noise, so that it needs no table for each model.
pub struct LatentColours {
    weights: Vec<[f64; 3]>,
}

impl LatentColours {
    /// Least squares: `inputs` are rows of channels, each ending in 1, `colours` what they should give.
    fn fit(inputs: &[Vec<f64>], colours: &[[f64; 3]]) -> Result<Self> {
        let width = inputs.first().map_or(0, Vec::len);
        // The normal equations, augmented by the right side.
        let mut rows = vec![vec![0.0; width + 3]; width];
        for (input, colour) in inputs.iter().zip(colours) {
            for (row, left) in rows.iter_mut().zip(input) {
                for (cell, right) in row.iter_mut().zip(input.iter().chain(colour)) {
                    *cell += left * right;
                }
            }
        }
        for (index, row) in rows.iter_mut().enumerate() {
            row[index] += RIDGE * inputs.len() as f64;
        }
        // Elimination without pivoting: the matrix is symmetric and positive definite.
        for pivot in 0..width {
            let (above, below) = rows.split_at_mut(pivot + 1);
            for row in below {
                let factor = row[pivot] / above[pivot][pivot];
                for (cell, value) in row.iter_mut().zip(&above[pivot]).skip(pivot) {
                    *cell -= factor * value;
                }
            }
        }
        let mut weights = vec![[0.0; 3]; width];
        for index in (0..width).rev() {
            for colour in 0..3 {
                let known: f64 = (index + 1..width).map(|other| rows[index][other] * weights[other][colour]).sum();
                weights[index][colour] = (rows[index][width + colour] - known) / rows[index][index];
            }
        }
        if weights.iter().flatten().all(|weight| weight.is_finite()) {
            Ok(Self { weights })
        } else {
            Err(Error::Inference("the VAE's colours are not finite".into()))
        }
    }

    /// `latents` f32 (1, channels, h, w) on the host to values (1, 3, h, w), about -1 to 1.
    fn apply(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = latents.dims4()?;
        let values = latents.flatten_all()?.to_vec1::<f32>()?;
        let plane = height * width;
        let mut pixels = vec![0f32; 3 * plane];
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let (colour, position) = (index / plane, index % plane);
            let sum: f64 =
                (0..channels).map(|c| self.weights[c][colour] * f64::from(values[c * plane + position])).sum();
            *pixel = (sum + self.weights[channels][colour]) as f32;
        }
        Ok(Tensor::from_vec(pixels, (1, 3, height, width), &Device::Cpu)?)
    }
}

impl Pipeline {
    /// A picture of `latents`, f32 (1, channels, h, w) as the scheduler foresees them: of the VAE where `decode` says
    /// so, else of the preview's where there is one, else an estimate.
    pub(super) fn preview(&self, latents: &Tensor, decode: bool, tiled: bool, cancel: &CancelToken) -> Result<Rgb8> {
        if decode {
            return self.decode(latents, tiled, cancel);
        }
        if let Some(vae) = &self.preview_vae {
            return decode_by(vae, latents, tiled, cancel);
        }
        let latents = self.give(latents)?;
        match self.latent_colours.get() {
            Some(colours) => Rgb8::from_tensor(&colours.apply(&latents)?),
            None => {
                let colours = self.learn_colours(cancel)?;
                Rgb8::from_tensor(&self.latent_colours.get_or_init(|| colours).apply(&latents)?)
            }
        }
    }

    fn learn_colours(&self, cancel: &CancelToken) -> Result<LatentColours> {
        let (lessons, side) = LESSONS;
        let channels = self.model.vae.latent_channels();
        let mut generator = TorchGenerator::new(0);
        let (mut inputs, mut colours) = (Vec::new(), Vec::new());
        for _ in 0..lessons {
            // Patches of two by two positions: of noise as fine as the latents the VAE makes only grey.
            let coarse = Tensor::from_vec(
                generator.randn(channels * side * side / 4),
                (1, channels, side / 2, side / 2),
                &Device::Cpu,
            )?;
            let latents = coarse.upsample_nearest2d(side, side)?;
            let pixels = self.vae.decode(&(&latents / self.vae.scaling_factor())?, false, cancel)?;
            let pixels = self.give(&pixels)?;
            let means = pixels.avg_pool2d(self.model.vae.factor())?.to_dtype(DType::F64)?;
            let means = means.clamp(-1.0, 1.0)?.squeeze(0)?.flatten_from(1)?.t()?.to_vec2::<f64>()?;
            let rows = latents.to_dtype(DType::F64)?.squeeze(0)?.flatten_from(1)?.t()?.to_vec2::<f64>()?;
            inputs.extend(rows.into_iter().map(|mut row| {
                row.push(1.0);
                row
            }));
            colours.extend(means.iter().map(|mean| [mean[0], mean[1], mean[2]]));
        }
        LatentColours::fit(&inputs, &colours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_relation_is_found() {
        let mut generator = TorchGenerator::new(1);
        let inputs: Vec<Vec<f64>> =
            (0..200).map(|_| generator.randn(4).into_iter().map(f64::from).chain([1.0]).collect()).collect();
        let truth = [[0.5, 0.0, -0.25], [0.0, 1.0, 0.0], [0.25, 0.25, 0.25], [0.0, 0.0, 0.0], [0.1, -0.1, 0.2]];
        let colours: Vec<[f64; 3]> = inputs
            .iter()
            .map(|row| [0, 1, 2].map(|colour| row.iter().zip(&truth).map(|(x, w)| x * w[colour]).sum()))
            .collect();
        let fitted = LatentColours::fit(&inputs, &colours).expect("the relation is well posed");
        for (found, true_weights) in fitted.weights.iter().zip(&truth) {
            for (found, true_weight) in found.iter().zip(true_weights) {
                assert!((found - true_weight).abs() < 5e-3, "{found} for {true_weight}");
            }
        }
    }
}
