//! The right side of a product, laid out once in the order in which the innermost loop reads it.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Shared};
use super::kernel::{PANEL, PANEL_UNIT, Products};
use super::simd::to_bf16;

/// Steps of one segment at most: a panel of as many stays in half of a core's second-level cache.
pub const MAX_SEGMENT: usize = 2048;
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

    /// Where a panel begins, `step` steps in.
    pub fn panel(&self, panel: usize, step: usize) -> *const f32 {
        let offset = panel * PANEL * self.steps + step * self.width(panel);
        assert!(offset <= self.data.len(), "panel {panel}, step {step}");
        // SAFETY: the offset was just checked.
        unsafe { self.data.as_ptr::<f32>().add(offset) }
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
            match self.products {
                Products::F32 => {
                    for (to, value) in to[column..].iter_mut().step_by(width).zip(values) {
                        *to = value.to_bits();
                    }
                }
                Products::Bf16 => {
                    let mut rounded = values.map(|value| u32::from(to_bf16(*value)));
                    for to in to[column..].iter_mut().step_by(width) {
                        let (first, second) = (rounded.next().unwrap_or(0), rounded.next().unwrap_or(0));
                        *to = first | second << 16;
                    }
                }
            }
        }
        for step in to.chunks_exact_mut(width) {
            step[valid..].fill(0);
        }
    }
}

/// Cuts segments that are longer than [`MAX_SEGMENT`] steps; each part is (segment, first number, numbers).
pub fn parts(products: Products, segments: &[usize]) -> Vec<(usize, usize, usize)> {
    let most = MAX_SEGMENT * products.per_step();
    let cut = |(segment, depth): (usize, &usize)| {
        let depth = *depth;
        (0..depth).step_by(most).map(move |first| (segment, first, most.min(depth - first)))
    };
    segments.iter().enumerate().flat_map(cut).collect()
}
