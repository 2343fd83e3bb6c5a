//! The right side of a product, laid out once in the order in which the innermost loop reads it.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Shared};
use super::kernel::{PANEL, PANEL_UNIT, Products};
use super::simd::to_bf16;

/// Steps that are summed in one go at most. A panel of as many stays in half of a core's second-level cache; sums of f32
/// lose less when they are sums of shorter ones.
pub fn longest_sum(products: Products) -> usize {
    match products {
        Products::F32 => 256,
        Products::Bf16 | Products::Int8 => 2048,
    }
}

/// Numbers of a segment that are packed column by column at a time: a few cache lines of each column. Even, so that it
/// ends where a step does.
const BLOCK: usize = 32;

/// A matrix of `depth` rows and `columns` columns in panels of [`PANEL`] columns; the last one may be narrower.
///
/// The depth is made of segments, each of which begins at a step of its own: the taps of a convolution, or the inputs
/// that a layer reads one behind the other.
pub struct PackedMatrix {
    data: AlignedBuffer,
    products: Products,
    columns: usize,
    segments: Vec<usize>,
    steps: usize,
}

/// Where the elements of a matrix lie in a slice, by strides.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    /// The element of the first column, segment and index is its first.
    pub data: &'a [f32],
    /// From column to column.
    pub column: usize,
    /// From segment to segment.
    pub segment: usize,
    /// From one number of a segment to the next.
    pub index: usize,
    /// What each column is multiplied by before it is rounded to i8; empty where nothing is.
    pub factors: &'a [f32],
}

impl PackedMatrix {
    /// Packs a matrix of `columns` columns, whose depth is made of `segments`.
    pub fn pack(products: Products, columns: usize, segments: &[usize], source: Strided<'_>) -> Self {
        let mut packed = Self::unfilled(products, columns, segments);
        let panels = packed.panels();
        let writer = packed.writer();
        (0..panels).into_par_iter().for_each(|panel| {
            let mut step = 0;
            for (segment, depth) in segments.iter().enumerate() {
                let data = source.data.get(segment * source.segment..).unwrap_or_default();
                for first in (0..*depth).step_by(BLOCK) {
                    // SAFETY: each task writes its own panel.
                    unsafe { writer.block(panel, step, first..(first + BLOCK).min(*depth), data, source) };
                    step += products.steps(BLOCK.min(*depth - first));
                }
            }
        });
        packed
    }

    /// A matrix whose elements are still to be written, all of them, by its writer.
    pub fn unfilled(products: Products, columns: usize, segments: &[usize]) -> Self {
        let steps = segments.iter().map(|depth| products.steps(*depth)).sum();
        let last = columns.div_ceil(PANEL).saturating_sub(1) * PANEL;
        let width = (columns - last).next_multiple_of(PANEL_UNIT);
        let data = AlignedBuffer::new(steps * (last + width));
        Self { data, products, columns, segments: segments.to_vec(), steps }
    }

    /// What writes the elements.
    pub fn writer(&mut self) -> Writer {
        let to = Shared::new(self.data.as_mut_ptr::<u32>());
        Writer { to, products: self.products, columns: self.columns, steps: self.steps }
    }

    /// What is multiplied.
    pub fn products(&self) -> Products {
        self.products
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers in each segment of the depth.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<u32>()
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Columns that a panel holds, those beyond the matrix's own included.
    pub fn width(&self, panel: usize) -> usize {
        self.valid(panel).next_multiple_of(PANEL_UNIT)
    }

    /// The matrix's own columns in a panel.
    pub fn valid(&self, panel: usize) -> usize {
        (self.columns - panel * PANEL).min(PANEL)
    }

    /// As much of what lies behind `step` steps of a panel as `steps` of its steps take.
    pub fn panel_data(&self, panel: usize, step: usize, steps: usize) -> &[f32] {
        let from = (panel * PANEL * self.steps + step * self.width(panel)).min(self.data.len());
        let len = (steps * self.width(panel)).min(self.data.len() - from);
        // SAFETY: inside of the buffer, which is filled by now, and any bits are an f32.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr::<f32>().add(from), len) }
    }
}

/// Writes the elements of a [`PackedMatrix`], panels on different threads.
#[derive(Clone, Copy)]
pub struct Writer {
    to: Shared<u32>,
    products: Products,
    columns: usize,
    steps: usize,
}

impl Writer {
    /// One step of a panel, as wide as the panel is.
    ///
    /// # Safety
    /// The panel and the step are the matrix's own, and nobody else writes them.
    pub unsafe fn step<'a>(&self, panel: usize, step: usize) -> &'a mut [u32] {
        let width = (self.columns - panel * PANEL).min(PANEL).next_multiple_of(PANEL_UNIT);
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.to.at(panel * PANEL * self.steps + step * width), width) }
    }

    /// Some numbers of one segment, from `step` on, for all columns of a panel.
    ///
    /// # Safety
    /// As for [`Writer::step`], for all steps that the numbers take.
    unsafe fn block(&self, panel: usize, step: usize, numbers: Range<usize>, data: &[f32], source: Strided<'_>) {
        let valid = (self.columns - panel * PANEL).min(PANEL);
        let width = valid.next_multiple_of(PANEL_UNIT);
        // SAFETY: by the caller's promise.
        let to = unsafe {
            let first = self.to.at(panel * PANEL * self.steps + step * width);
            std::slice::from_raw_parts_mut(first, self.products.steps(numbers.len()) * width)
        };
        for column in 0..valid {
            let from = (panel * PANEL + column) * source.column + numbers.start * source.index;
            let values = data[from..].iter().step_by(source.index).take(numbers.len());
            let to = to[column..].iter_mut().step_by(width);
            match self.products {
                Products::F32 => {
                    for (to, value) in to.zip(values) {
                        *to = value.to_bits();
                    }
                }
                Products::Bf16 => {
                    let mut rounded = values.map(|value| u32::from(to_bf16(*value)));
                    for to in to {
                        let (first, second) = (rounded.next().unwrap_or(0), rounded.next().unwrap_or(0));
                        *to = first | second << 16;
                    }
                }
                Products::Int8 => {
                    let factor = source.factors[panel * PANEL + column];
                    let mut rounded = values.map(|value| quantise(*value, factor) as u8);
                    for to in to {
                        *to = u32::from_le_bytes(std::array::from_fn(|_| rounded.next().unwrap_or(0)));
                    }
                }
            }
        }
        for step in to.chunks_exact_mut(width) {
            step[valid..].fill(0);
        }
    }
}

/// The whole number nearest to `value * factor`, from -127 to 127.
pub fn quantise(value: f32, factor: f32) -> i8 {
    (value * factor).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// What numbers up to `largest` are multiplied by so that they are -127 to 127.
pub fn quantising_factor(largest: f32) -> f32 {
    if largest > 0.0 { 127.0 / largest } else { 0.0 }
}

/// Cuts segments that are longer than [`longest_sum`]; each part is (segment, first number, numbers).
pub fn parts(products: Products, segments: &[usize]) -> Vec<(usize, usize, usize)> {
    let most = longest_sum(products) * products.per_step();
    let cut = |(segment, depth): (usize, &usize)| {
        let depth = *depth;
        (0..depth).step_by(most).map(move |first| (segment, first, most.min(depth - first)))
    };
    segments.iter().enumerate().flat_map(cut).collect()
}
