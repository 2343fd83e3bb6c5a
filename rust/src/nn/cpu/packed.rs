//! The right side of a product, laid out once in the order in which the innermost loop reads it.

use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Shared};
use super::kernel::{PANEL, PANEL_UNIT, Products};
use super::simd::to_bf16;

/// Steps of one segment at most: a panel of as many stays in half of a core's second-level cache.
pub const MAX_SEGMENT: usize = 2048;

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

impl PackedMatrix {
    /// Packs `value(column, segment, index)` for all columns, segments and the numbers in them.
    pub fn pack(
        products: Products,
        columns: usize,
        segments: &[usize],
        value: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let steps = segments.iter().map(|depth| products.steps(*depth)).sum();
        let last = columns.div_ceil(PANEL).saturating_sub(1) * PANEL;
        let width = (columns - last).next_multiple_of(PANEL_UNIT);
        let mut data = AlignedBuffer::new(steps * (last + width));
        let to = Shared::new(data.as_mut_ptr::<u32>());
        let packed = Self { data, products, columns, segments: segments.to_vec(), steps };
        (0..packed.panels()).into_par_iter().for_each(|panel| {
            let width = packed.width(panel);
            // SAFETY: each panel has its own part of the buffer, whose length is the sum of theirs.
            let part = unsafe { std::slice::from_raw_parts_mut(to.at(panel * PANEL * steps), width * steps) };
            packed.fill(panel, part, &value);
        });
        packed
    }

    fn fill(&self, panel: usize, part: &mut [u32], value: impl Fn(usize, usize, usize) -> f32) {
        let (first, valid) = (panel * PANEL, self.valid(panel));
        let places = self.segments.iter().enumerate().flat_map(|(segment, depth)| {
            (0..*depth).step_by(self.products.per_step()).map(move |index| (segment, index, *depth))
        });
        for (step, (segment, index, depth)) in part.chunks_exact_mut(self.width(panel)).zip(places) {
            let (own, beyond) = step.split_at_mut(valid);
            beyond.fill(0);
            for (column, element) in own.iter_mut().enumerate() {
                let at = |index| value(first + column, segment, index);
                *element = match self.products {
                    Products::F32 => at(index).to_bits(),
                    Products::Bf16 => {
                        let second = if index + 1 < depth { at(index + 1) } else { 0.0 };
                        u32::from(to_bf16(at(index))) | u32::from(to_bf16(second)) << 16
                    }
                };
            }
        }
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
        (self.columns - panel * PANEL).min(PANEL).next_multiple_of(PANEL_UNIT)
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

/// Cuts segments that are longer than [`MAX_SEGMENT`] steps; each part is (segment, first number, numbers).
pub fn parts(products: Products, segments: &[usize]) -> Vec<(usize, usize, usize)> {
    let most = MAX_SEGMENT * products.per_step();
    let cut = |(segment, depth): (usize, &usize)| {
        let depth = *depth;
        (0..depth).step_by(most).map(move |first| (segment, first, most.min(depth - first)))
    };
    segments.iter().enumerate().flat_map(cut).collect()
}
