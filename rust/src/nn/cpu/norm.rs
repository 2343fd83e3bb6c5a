//! Normalisations; their sums lose nothing at a million elements.

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use super::buffer::Output;
use super::dispatch::multiversion;
use super::linear::misfit;
use super::math::{sigmoid, sum_by};
use super::tensors::{Values, tensor};
use crate::error::Result;

/// Pixels that one task takes.
const PIXELS: usize = 256;

/// Group normalisation of feature maps whose channels are innermost.
pub struct GroupNorm {
    /// A factor for each channel.
    pub weight: Vec<f32>,
    /// A constant for each channel.
    pub bias: Vec<f32>,
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Layer normalisation over the last dimension.
pub struct LayerNorm {
    /// A factor for each element.
    pub weight: Vec<f32>,
    /// A constant for each element.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub eps: f64,
}

multiversion! {
    /// Adds each channel's values and squares to `sums` and `squares`.
    fn accumulate(pixels: &[f32], sums: &mut [f64], squares: &mut [f64]) {
        let channels = sums.len();
        let mut quads = pixels.chunks_exact(4 * channels);
        for quad in &mut quads {
            let (first, second) = quad.split_at(2 * channels);
            let ((a, b), (c, d)) = (first.split_at(channels), second.split_at(channels));
            for channel in 0..channels {
                let [a, b, c, d] = [a[channel], b[channel], c[channel], d[channel]].map(f64::from);
                sums[channel] += (a + b) + (c + d);
                squares[channel] += (a * a + b * b) + (c * c + d * d);
            }
        }
        for pixel in quads.remainder().chunks_exact(channels) {
            for ((sum, square), value) in sums.iter_mut().zip(squares.iter_mut()).zip(pixel) {
                let value = f64::from(*value);
                *sum += value;
                *square += value * value;
            }
        }
    }
}

multiversion! {
    /// `scale * x + shift` for some channels of one pixel, and SiLU of it when asked.
    fn scale_shift(source: &[f32], scale: &[f32], shift: &[f32], silu: bool, target: &mut [f32]) {
        let values = target.iter_mut().zip(source).zip(scale).zip(shift);
        if silu {
            for (((target, value), scale), shift) in values {
                let y = value * scale + shift;
                *target = y * sigmoid(y);
            }
        } else {
            for (((target, value), scale), shift) in values {
                *target = value * scale + shift;
            }
        }
    }
}

multiversion! {
    /// The same over what is there, for whole pixels.
    fn scale_shift_in_place(pixels: &mut [f32], scale: &[f32], shift: &[f32], silu: bool) {
        for pixel in pixels.chunks_exact_mut(scale.len()) {
            let values = pixel.iter_mut().zip(scale).zip(shift);
            if silu {
                for ((value, scale), shift) in values {
                    let y = *value * scale + shift;
                    *value = y * sigmoid(y);
                }
            } else {
                for ((value, scale), shift) in values {
                    *value = *value * scale + shift;
                }
            }
        }
    }
}

multiversion! {
    fn moments(values: &[f32], result: &mut (f64, f64)) {
        let count = values.len() as f64;
        let mean = sum_by(values, |v| v) / count;
        *result = (mean, sum_by(values, |v| (v - mean) * (v - mean)) / count);
    }
}

multiversion! {
    fn normalise_row(source: &[f32], target: &mut [f32], weight: &[f32], bias: &[f32], mean: f32, scale: f32) {
        for (((target, value), weight), bias) in target.iter_mut().zip(source).zip(weight).zip(bias) {
            *target = (value - mean) * scale * weight + bias;
        }
    }
}

/// Sums and squares of each channel of one image.
fn channel_sums(image: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let parts: Vec<_> = image
        .par_chunks(PIXELS * channels)
        .map(|pixels| {
            let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
            accumulate(pixels, &mut sums, &mut squares);
            (sums, squares)
        })
        .collect();
    let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    for (part_sums, part_squares) in &parts {
        add(&mut sums, part_sums);
        add(&mut squares, part_squares);
    }
    (sums, squares)
}

impl GroupNorm {
    /// (batch, h, w, channels), from one input or from several joined along their channels, to the same; SiLU follows
    /// when asked.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for shapes that do not fit.
    pub fn forward(&self, inputs: &[&Tensor], silu: bool) -> Result<Tensor> {
        let channels = self.weight.len();
        let counts: Vec<usize> = inputs.iter().filter_map(|input| input.dims().last().copied()).collect();
        let Some(mut shape) = inputs.first().map(|input| input.dims().to_vec()).filter(|dims| dims.len() == 4) else {
            return Err(misfit("the input", &counts, &[channels]));
        };
        if counts.iter().sum::<usize>() != channels
            || self.bias.len() != channels
            || self.groups == 0
            || channels == 0
            || !channels.is_multiple_of(self.groups)
            || inputs.iter().any(|input| input.rank() != 4 || input.dims()[..3] != shape[..3])
        {
            return Err(misfit("the input's channels", &counts, &[channels]));
        }
        shape[3] = channels;
        let (batch, pixels) = (shape[0], shape[1] * shape[2]);
        let inputs: Vec<_> = inputs.iter().map(|input| input.contiguous()).collect::<std::result::Result<_, _>>()?;
        let values: Vec<_> = inputs.iter().map(Values::of).collect::<Result<_>>()?;
        let values: Vec<&[f32]> = values.iter().map(|values| &**values).collect();
        let mut output = Output::new(batch * pixels * channels);
        let out = output.shared();
        for image in 0..if pixels == 0 { 0 } else { batch } {
            let parts: Vec<&[f32]> = values
                .iter()
                .zip(&counts)
                .map(|(values, count)| &values[image * pixels * count..(image + 1) * pixels * count])
                .collect();
            let (scale, shift) = self.affine(&parts, &counts, pixels);
            (0..pixels.div_ceil(PIXELS)).into_par_iter().for_each(|chunk| {
                for pixel in chunk * PIXELS..pixels.min((chunk + 1) * PIXELS) {
                    let mut first = 0;
                    for (part, count) in parts.iter().zip(&counts) {
                        let source = &part[pixel * count..(pixel + 1) * count];
                        let (scale, shift) = (&scale[first..first + count], &shift[first..first + count]);
                        // SAFETY: each task writes its own pixels.
                        let target = unsafe {
                            let target = out.at((image * pixels + pixel) * channels + first);
                            std::slice::from_raw_parts_mut(target, *count)
                        };
                        scale_shift(source, scale, shift, silu, target);
                        first += count;
                    }
                }
            });
        }
        // SAFETY: every pixel's channels have been written.
        unsafe { tensor(output, shape) }
    }

    /// [`GroupNorm::forward`] of one input, whose memory the result takes: nobody else may hold it.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for shapes that do not fit.
    pub fn forward_in_place(&self, x: Tensor, silu: bool) -> Result<Tensor> {
        let channels = self.weight.len();
        let fits = channels > 0 && self.groups > 0 && channels.is_multiple_of(self.groups);
        let (batch, pixels) = match *x.dims() {
            [batch, height, width, of] if of == channels && fits && self.bias.len() == channels => {
                (batch, height * width)
            }
            ref dims => return Err(misfit("the input", dims, &[channels])),
        };
        let x = x.contiguous()?;
        if batch * pixels == 0 {
            return Ok(x);
        }
        let values = Values::of(&x)?;
        let affines = values.chunks_exact(pixels * channels).map(|image| self.affine(&[image], &[channels], pixels));
        let affines = affines.collect();
        drop(values);
        x.inplace_op1(&Affines { affines, channels, silu })?;
        Ok(x)
    }

    /// What each channel of one image is multiplied by, and what is added.
    fn affine(&self, parts: &[&[f32]], counts: &[usize], pixels: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut sums, mut squares) = (Vec::new(), Vec::new());
        for (part, count) in parts.iter().zip(counts) {
            let (part_sums, part_squares) = channel_sums(part, *count);
            sums.extend(part_sums);
            squares.extend(part_squares);
        }
        let in_group = self.weight.len() / self.groups;
        let count = (in_group * pixels) as f64;
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        for (channel, (sums, squares)) in sums.chunks(in_group).zip(squares.chunks(in_group)).enumerate() {
            let mean = sums.iter().sum::<f64>() / count;
            let variance = (squares.iter().sum::<f64>() / count - mean * mean).max(0.0);
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for channel in channel * in_group..(channel + 1) * in_group {
                let factor = inverse * f64::from(self.weight[channel]);
                scale.push(factor as f32);
                shift.push((f64::from(self.bias[channel]) - mean * factor) as f32);
            }
        }
        (scale, shift)
    }
}

/// What the channels of each image are multiplied by and what is added, followed by SiLU where asked.
struct Affines {
    affines: Vec<(Vec<f32>, Vec<f32>)>,
    channels: usize,
    silu: bool,
}

impl InplaceOp1 for Affines {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("the CPU kernels take contiguous f32 only");
        };
        let values = &mut values[start..end];
        let of_image = values.len() / self.affines.len();
        for (image, (scale, shift)) in values.chunks_exact_mut(of_image).zip(&self.affines) {
            image
                .par_chunks_mut(PIXELS * self.channels)
                .for_each(|pixels| scale_shift_in_place(pixels, scale, shift, self.silu));
        }
        Ok(())
    }
}

impl LayerNorm {
    /// (…, width) to the same.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.weight.len();
        if width == 0 || x.dims().last() != Some(&width) || self.bias.len() != width {
            return Err(misfit("the input", x.dims(), &[width]));
        }
        let x = x.contiguous()?;
        let values = Values::of(&x)?;
        let mut output = Output::new(values.len());
        let out = output.shared();
        let block = width * 16;
        values.par_chunks(block).enumerate().for_each(|(index, source)| {
            // SAFETY: each task writes its own rows.
            let target = unsafe { std::slice::from_raw_parts_mut(out.at(index * block), source.len()) };
            for (target, source) in target.chunks_exact_mut(width).zip(source.chunks_exact(width)) {
                let mut result = (0.0, 0.0);
                moments(source, &mut result);
                let (mean, inverse) = (result.0, 1.0 / (result.1 + self.eps).sqrt());
                normalise_row(source, target, &self.weight, &self.bias, mean as f32, inverse as f32);
            }
        });
        // SAFETY: every row has been written.
        unsafe { tensor(output, x.shape().clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::assert_same_bits;
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let bits_of = |values: &[f64]| {
            let halves = values.iter().map(|value| value.to_bits()).flat_map(|bits| [bits as u32, (bits >> 32) as u32]);
            halves.map(f32::from_bits).collect::<Vec<_>>()
        };
        for count in [1, 7, 32, 100, 5000] {
            let wave =
                |step: f32, len: usize| (0..len).map(|i| (i as f32 * step).sin() * 3.0 + 1.0).collect::<Vec<_>>();
            let (x, weight, bias) = (wave(0.37, count), wave(0.11, count), wave(0.05, count));
            assert_same_bits(|set| {
                let mut result = (0.0, 0.0);
                moments::on(set, &x, &mut result);
                bits_of(&[result.0, result.1])
            });
            let pixels = wave(0.23, 7 * count);
            assert_same_bits(|set| {
                let (mut sums, mut squares) = (vec![0.0; count], vec![0.0; count]);
                accumulate::on(set, &pixels, &mut sums, &mut squares);
                bits_of(&[sums, squares].concat())
            });
            for silu in [false, true] {
                assert_same_bits(|set| {
                    let mut y = vec![0f32; count];
                    scale_shift::on(set, &x, &weight, &bias, silu, &mut y);
                    let mut in_place = x.clone();
                    scale_shift_in_place::on(set, &mut in_place, &weight, &bias, silu);
                    assert!(in_place.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits()));
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
