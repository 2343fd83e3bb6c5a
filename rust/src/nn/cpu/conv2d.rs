//! Convolution in NCHW as a product of the weight, as it lies, with columns of pixels gathered tile by tile.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::gemm::{Matrix, SharedOutput, multiply};
use super::values;

/// Bytes that the gathered columns of one tile may take: about half of a core's second-level cache.
const TILE_BYTES: usize = 512 * 1024;
/// Fewest pixels of a tile, so that the weight is not packed anew for too little work.
const MIN_TILE_PIXELS: usize = 128;

/// `y = conv(x, W) + b` of x (batch, in, h, w), W (out, in, kernel, kernel), b (out) or empty; zero padding.
pub struct Conv2d {
    /// Step between the input positions of neighbouring outputs.
    pub stride: usize,
    /// Zeros before the first row and column, and after the last ones.
    pub padding: (usize, usize),
}

struct Geometry {
    channels: usize,
    height: usize,
    width: usize,
    kernel_height: usize,
    kernel_width: usize,
    out_width: usize,
    stride: usize,
    padding: usize,
}

impl Geometry {
    /// Writes the inputs of output pixels `first..first + pixels` as the columns of a (channels * kernel², pixels) matrix.
    fn gather(&self, image: &[f32], first: usize, pixels: usize, columns: &mut [f32]) {
        let plane = self.height * self.width;
        let mut rows = columns.chunks_exact_mut(pixels);
        for channel in 0..self.channels {
            let plane = &image[channel * plane..(channel + 1) * plane];
            for ky in 0..self.kernel_height {
                for kx in 0..self.kernel_width {
                    let Some(row) = rows.next() else { return };
                    self.gather_row(plane, ky, kx, first, row);
                }
            }
        }
    }

    fn gather_row(&self, plane: &[f32], ky: usize, kx: usize, first: usize, row: &mut [f32]) {
        let mut done = 0;
        while done < row.len() {
            let (out_y, out_x) = ((first + done) / self.out_width, (first + done) % self.out_width);
            let run = (self.out_width - out_x).min(row.len() - done);
            let target = &mut row[done..done + run];
            done += run;
            let y = (out_y * self.stride + ky).wrapping_sub(self.padding);
            if y >= self.height {
                target.fill(0.0);
                continue;
            }
            let line = &plane[y * self.width..(y + 1) * self.width];
            if self.stride == 1 {
                copy_shifted(line, (out_x + kx) as isize - self.padding as isize, target);
            } else {
                for (i, value) in target.iter_mut().enumerate() {
                    let x = ((out_x + i) * self.stride + kx).wrapping_sub(self.padding);
                    *value = line.get(x).copied().unwrap_or(0.0);
                }
            }
        }
    }
}

/// Copies `line[from..from + target.len()]`, with zeros outside of the line.
fn copy_shifted(line: &[f32], from: isize, target: &mut [f32]) {
    let before = ((-from).max(0) as usize).min(target.len());
    let start = (from.max(0) as usize).min(line.len());
    let inside = (line.len() - start).min(target.len() - before);
    target[..before].fill(0.0);
    target[before..before + inside].copy_from_slice(&line[start..start + inside]);
    target[before + inside..].fill(0.0);
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = x_layout.shape().dims4()?;
        let (outputs, inputs, kernel_height, kernel_width) = weight_layout.shape().dims4()?;
        let padded = self.padding.0 + self.padding.1;
        let empty = weight_layout.shape().elem_count() == 0 || self.stride == 0;
        if empty || inputs != channels || height + padded < kernel_height || width + padded < kernel_width {
            bail!("conv2d: weight {:?}, stride {}, on {:?}", weight_layout.dims(), self.stride, x_layout.dims());
        }
        let out_height = (height + padded - kernel_height) / self.stride + 1;
        let out_width = (width + padded - kernel_width) / self.stride + 1;
        let (x, weight, bias) = (values(x, x_layout)?, values(weight, weight_layout)?, values(bias, bias_layout)?);
        if !bias.is_empty() && bias.len() != outputs {
            bail!("conv2d: {} biases of {outputs} outputs", bias.len());
        }
        let geometry = Geometry {
            channels,
            height,
            width,
            kernel_height,
            kernel_width,
            out_width,
            stride: self.stride,
            padding: self.padding.0,
        };

        let depth = channels * kernel_height * kernel_width;
        let pixels = out_height * out_width;
        let tile = (TILE_BYTES / 4 / depth).max(MIN_TILE_PIXELS).min(pixels);
        let pointwise = kernel_height == 1 && kernel_width == 1 && self.stride == 1 && padded == 0;
        let mut out = vec![0f32; batch * outputs * pixels];
        if !bias.is_empty() {
            out.par_chunks_mut(pixels).enumerate().for_each(|(plane, values)| values.fill(bias[plane % outputs]));
        }
        let shared = SharedOutput::new(&mut out);
        let tasks: Vec<_> = (0..batch).flat_map(|b| (0..pixels).step_by(tile).map(move |p| (b, p))).collect();
        let parallelism = if tasks.len() >= rayon::current_num_threads() {
            Parallelism::None
        } else {
            Parallelism::Rayon(rayon::current_num_threads())
        };
        let weight = Matrix::rows(weight, outputs, depth);
        let image_size = channels * height * width;
        tasks.into_par_iter().for_each_init(Vec::new, |columns, (b, first)| {
            let count = tile.min(pixels - first);
            let image = &x[b * image_size..(b + 1) * image_size];
            let rhs = if pointwise {
                Matrix { data: &image[first..], rows: depth, cols: count, row_stride: pixels, col_stride: 1 }
            } else {
                columns.resize(depth * tile, 0.0);
                let columns = &mut columns[..depth * count];
                geometry.gather(image, first, count, columns);
                Matrix::rows(columns, depth, count)
            };
            // SAFETY: each task writes its own pixels of its own image, and the output is initialised.
            unsafe {
                multiply(shared.at(b * outputs * pixels + first, pixels), true, weight, rhs, 1.0, parallelism);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((batch, outputs, out_height, out_width))))
    }
}
