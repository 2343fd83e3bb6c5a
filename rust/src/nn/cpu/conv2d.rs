//! Convolution of feature maps whose channels are innermost.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Output, Shared};
use super::dense_rows::round_to_bf16;
use super::depth::Depth;
use super::kernel::{Products, TILE_ROWS};
use super::linear::{Linear, misfit};
use super::packed::{PackedMatrix, Strided};
use super::product::{Destination, RowSource, finish_row, multiply};
use super::tensors::{Values, tensor};
use super::winograd::{self, Winograd};
use crate::error::{Error, Result};
use crate::instruction_set::InstructionSet;

/// Geometry of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step between the input positions of neighbouring outputs.
    pub stride: usize,
    /// Zeros before the first and after the last row and column.
    pub padding: (usize, usize),
    /// Height and width of the output at the model's own size, where they are known: what a method is chosen for.
    pub side: Option<usize>,
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The method that was measured to be the fastest for the shape.
    Auto,
    /// A product for every tap of the kernel.
    Direct,
    /// Winograd's F(2x2, 3x3): 2.25 times fewer products.
    Winograd2,
    /// Winograd's F(4x4, 3x3): 4 times fewer products.
    Winograd4,
}

enum Weight {
    Pointwise(Linear),
    Direct(PackedMatrix),
    Winograd(Winograd),
}

/// Two-dimensional convolution with bias and zero padding.
pub struct Conv2d {
    geometry: Conv2dGeometry,
    weight: Weight,
    bias: Vec<f32>,
}

/// What a convolution does beside convolving.
#[derive(Default, Clone, Copy)]
pub struct Conv2dExtras<'a> {
    /// The input is first upsampled, each pixel to four, and cut to this height and width: twice its own, or one less.
    pub upsampled: Option<(usize, usize)>,
    /// (1 or batch, outputs), added to every pixel.
    pub shift: Option<&'a Tensor>,
    /// (batch, h, w, outputs), added to the result.
    pub residual: Option<&'a Tensor>,
}

/// The input of a convolution: where its pixels lie, and what it looks like from the kernel.
pub(super) struct Image {
    /// First step of the first pixel.
    pub data: Shared<f32>,
    /// Steps from pixel to pixel.
    pub pixel: usize,
    /// Height and width of what lies in memory.
    pub stored: (usize, usize),
    /// Height and width of what is convolved.
    pub seen: (usize, usize),
    /// As many zeros as a pixel has.
    pub zeros: AlignedBuffer,
}

impl Image {
    /// Steps of the pixel at (y, x) of image `index`; zeros outside of it.
    pub fn at(&self, index: usize, y: isize, x: isize) -> *const f32 {
        let (height, width) = self.seen;
        if y < 0 || x < 0 || y as usize >= height || x as usize >= width {
            return self.zeros.as_ptr();
        }
        let halved = usize::from(self.seen != self.stored);
        let (y, x) = (y as usize >> halved, x as usize >> halved);
        let (height, width) = self.stored;
        // SAFETY: inside of what is seen is inside of what is stored.
        unsafe { self.data.at(((index * height + y) * width + x) * self.pixel) }
    }
}

/// What is added to the sums, and where they go.
pub(super) struct Finish<'a> {
    /// A bias for each image, or one for all, one behind the other.
    biases: Vec<f32>,
    outputs: usize,
    residual: Option<&'a [f32]>,
    out: Shared<f32>,
}

impl Finish<'_> {
    /// The biases of some columns of an image.
    pub fn bias(&self, image: usize, columns: Range<usize>) -> &[f32] {
        let image = if self.biases.len() > self.outputs { image } else { 0 };
        &self.biases[image * self.outputs..][columns]
    }

    /// Whether something is added to the result.
    pub fn has_residual(&self) -> bool {
        self.residual.is_some()
    }

    /// Where a column of a pixel, counted over all images, goes, and what is added to it; null where there is nothing.
    ///
    /// # Safety
    /// Pixel and column are inside the output.
    pub unsafe fn place(&self, pixel: usize, column: usize) -> (*mut f32, *const f32) {
        let offset = pixel * self.outputs + column;
        let residual = self.residual.map_or(std::ptr::null(), |residual| residual[offset..].as_ptr());
        // SAFETY: by the caller's promise.
        (unsafe { self.out.at(offset) }, residual)
    }

    /// Finishes the sums of some columns of one pixel, counted over all images.
    ///
    /// # Safety
    /// Pixel and columns are inside the output, and nobody else writes them meanwhile.
    pub unsafe fn pixel(&self, image: usize, pixel: usize, columns: Range<usize>, sums: &[f32]) {
        let from = pixel * self.outputs + columns.start;
        // SAFETY: by the caller's promise.
        let out = unsafe { std::slice::from_raw_parts_mut(self.out.at(from), columns.len()) };
        let residual = self.residual.map(|residual| &residual[from..from + columns.len()]);
        finish_row(sums, self.bias(image, columns), residual, out);
    }
}

struct PixelRows<'a> {
    image: &'a Image,
    products: Products,
    geometry: Conv2dGeometry,
    out: (usize, usize),
}

impl RowSource for PixelRows<'_> {
    fn gather(
        &self,
        rows: Range<usize>,
        depth: &Depth,
        _scratch: &mut AlignedBuffer,
        table: &mut Vec<*const f32>,
    ) -> Vec<f32> {
        let Conv2dGeometry { kernel, stride, padding, .. } = self.geometry;
        let (height, width) = self.out;
        let corner = |row: usize| {
            let (image, y, x) = (row / (height * width), row / width % height, row % width);
            let corner = |position: usize| (position * stride) as isize - padding.0 as isize;
            (image, corner(y), corner(x))
        };
        for tile in rows.clone().step_by(TILE_ROWS) {
            let corners: [_; TILE_ROWS] = std::array::from_fn(|index| corner((tile + index).min(rows.end - 1)));
            for (tap, first, _) in &depth.parts {
                let (dy, dx) = ((tap / kernel) as isize, (tap % kernel) as isize);
                let skip = first / self.products.per_step();
                // SAFETY: a part lies inside of a pixel.
                table.extend(
                    corners.iter().map(|(image, y, x)| unsafe { self.image.at(*image, y + dy, x + dx).add(skip) }),
                );
            }
        }
        Vec::new()
    }
}

impl Conv2d {
    /// Packs `weight` (outputs, inputs, kernel, kernel) and `bias` (outputs).
    ///
    /// # Errors
    /// [`Error::Inference`] for lengths that do not fit, and for Winograd where the kernel is not 3x3 of stride 1.
    pub fn new(
        products: Products,
        geometry: Conv2dGeometry,
        weight: &[f32],
        bias: &[f32],
        method: Method,
    ) -> Result<Self> {
        let Conv2dGeometry { inputs, outputs, kernel, stride, padding, side } = geometry;
        if weight.len() != outputs * inputs * kernel * kernel || bias.len() != outputs {
            return Err(misfit("weight and bias", &[weight.len(), bias.len()], &[outputs, inputs, kernel, kernel]));
        }
        if stride == 0 || kernel == 0 || inputs == 0 || outputs == 0 {
            return Err(Error::Inference(format!("conv2d: {geometry:?}")));
        }
        let suits_winograd = kernel == 3 && stride == 1 && padding == (1, 1);
        let method = match method {
            Method::Auto if suits_winograd => winograd::method(products, inputs * outputs, side),
            Method::Auto => Method::Direct,
            Method::Winograd2 | Method::Winograd4 if !suits_winograd => {
                return Err(Error::Inference(format!("conv2d: no Winograd for {geometry:?}")));
            }
            method => method,
        };
        let weight = match method {
            _ if kernel == 1 && stride == 1 && padding == (0, 0) => {
                Weight::Pointwise(Linear::new(products, weight, outputs, inputs, Some(bias))?)
            }
            Method::Winograd2 | Method::Winograd4 => {
                Weight::Winograd(Winograd::new(products, method, weight, inputs, outputs))
            }
            _ => {
                let taps = kernel * kernel;
                let source = Strided { data: weight, column: inputs * taps, segment: 1, index: taps, factors: &[] };
                Weight::Direct(PackedMatrix::pack(products, outputs, &vec![inputs; taps], source))
            }
        };
        Ok(Self { geometry, weight, bias: bias.to_vec() })
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        match &self.weight {
            Weight::Pointwise(linear) => linear.bytes(),
            Weight::Direct(matrix) => matrix.bytes(),
            Weight::Winograd(winograd) => winograd.bytes(),
        }
    }

    /// (batch, h, w, inputs) to (batch, h', w', outputs).
    ///
    /// # Errors
    /// [`Error::Inference`] for shapes that do not fit.
    pub fn forward(&self, x: &Tensor, extras: Conv2dExtras<'_>) -> Result<Tensor> {
        let Conv2dGeometry { inputs, outputs, kernel, stride, padding, .. } = self.geometry;
        let (batch, height, width, channels) = x.dims4()?;
        let seen = extras.upsampled.unwrap_or((height, width));
        let halves = |seen: usize, stored: usize| seen.div_ceil(2) == stored;
        if channels != inputs || extras.upsampled.is_some_and(|seen| !halves(seen.0, height) || !halves(seen.1, width))
        {
            return Err(misfit("the input", x.dims(), &[batch, seen.0, seen.1, inputs]));
        }
        if let (Weight::Pointwise(linear), None, None) = (&self.weight, extras.upsampled, extras.shift) {
            return linear.forward(&[x], extras.residual);
        }
        let padded = padding.0 + padding.1;
        if seen.0 + padded < kernel || seen.1 + padded < kernel {
            return Err(misfit("the input", x.dims(), &[batch, kernel, kernel, inputs]));
        }
        let out = ((seen.0 + padded - kernel) / stride + 1, (seen.1 + padded - kernel) / stride + 1);
        let shape = [batch, out.0, out.1, outputs];
        let residual = match extras.residual {
            Some(residual) if residual.dims() != shape => return Err(misfit("residual", residual.dims(), &shape)),
            residual => residual.map(Tensor::contiguous).transpose()?,
        };
        let residual = residual.as_ref().map(Values::of).transpose()?;
        let mut output = Output::new(shape.iter().product());
        let finish = Finish {
            biases: self.biases(batch, extras.shift)?,
            outputs,
            residual: residual.as_deref(),
            out: output.shared(),
        };
        let x = x.contiguous()?;
        let values = Values::of(&x)?;
        let plain = |values: *const f32, pixel| Image {
            data: Shared::new(values.cast_mut()),
            pixel,
            stored: (height, width),
            seen,
            zeros: zeros(channels),
        };
        match &self.weight {
            Weight::Pointwise(_) => return Err(Error::Inference("conv2d: a pointwise one takes no extras".into())),
            Weight::Winograd(winograd) => {
                let image = plain(values.as_ptr(), channels);
                // SAFETY: the image has `batch` images of the size seen, and the output was made for them.
                unsafe { winograd.forward(&image, batch, &finish) };
            }
            Weight::Direct(matrix) => {
                let products = matrix.products();
                let rounded = (products == Products::Bf16).then(|| rounded(&values, channels));
                let image = match &rounded {
                    Some(rounded) => plain(rounded.as_ptr(), products.steps(channels)),
                    None => plain(values.as_ptr(), channels),
                };
                let source = PixelRows { image: &image, products, geometry: self.geometry, out };
                let pixels = out.0 * out.1;
                let depth = Depth::new(products, matrix.segments());
                let to = Destination { rows: finish.out, stride: outputs };
                // SAFETY: rows are the output's pixels, whose taps are pixels of the image or zeros.
                unsafe {
                    multiply(InstructionSet::best(), [matrix], &depth, batch * pixels, &source, to, |sums| {
                        for (row, _, [sums_of_row]) in sums.rows() {
                            finish.pixel(row / pixels, row, sums.columns.clone(), sums_of_row);
                        }
                    });
                }
            }
        }
        // SAFETY: every pixel's columns have been written.
        unsafe { tensor(output, &shape) }
    }

    /// The bias with the shift of each image.
    fn biases(&self, batch: usize, shift: Option<&Tensor>) -> Result<Vec<f32>> {
        let Some(shift) = shift else { return Ok(self.bias.clone()) };
        let outputs = self.geometry.outputs;
        match *shift.dims() {
            [rows, columns] if columns == outputs && (rows == 1 || rows == batch) => {
                let shift = shift.contiguous()?;
                let values = Values::of(&shift)?;
                Ok(values
                    .chunks_exact(outputs)
                    .flat_map(|row| row.iter().zip(&self.bias).map(|(a, b)| a + b))
                    .collect())
            }
            _ => Err(misfit("shift", shift.dims(), &[batch, outputs])),
        }
    }
}

fn zeros(len: usize) -> AlignedBuffer {
    let mut zeros = AlignedBuffer::new(len.next_multiple_of(16));
    // SAFETY: all of the buffer, for which zero bytes are zeros.
    unsafe { zeros.as_mut_ptr::<u32>().write_bytes(0, zeros.len()) };
    zeros
}

/// All pixels in bf16, each rounded up to whole steps.
fn rounded(values: &[f32], channels: usize) -> AlignedBuffer {
    const PIXELS: usize = 64;
    let steps = Products::Bf16.steps(channels);
    let mut rounded = AlignedBuffer::new(values.len() / channels * steps);
    let to = Shared::new(rounded.as_mut_ptr::<u32>());
    let set = InstructionSet::best();
    values.par_chunks(PIXELS * channels).enumerate().for_each(|(chunk, values)| {
        for (index, pixel) in values.chunks_exact(channels).enumerate() {
            // SAFETY: each pixel has its own steps.
            unsafe { round_to_bf16(set, pixel.as_ptr(), channels, to.at((chunk * PIXELS + index) * steps).cast()) };
        }
    });
    rounded
}
