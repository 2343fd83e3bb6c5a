//! Rows of f32 as the left side of a product, rounded to bf16 or quantised as they come.

use std::ops::Range;

use super::buffer::AlignedBuffer;
use super::depth::Depth;
use super::dispatch::{multiversion, vectorised};
use super::kernel::Products;
use super::packed::quantising_factor;
use super::product::{RowSource, tabulate};
use crate::instruction_set::InstructionSet;

/// What stands for 0 in a quantised row.
pub const ZERO: u8 = 128;

/// Rows of f32 that lie one behind the other, in one matrix a segment of the depth.
pub struct DenseRows<'a> {
    /// What is multiplied.
    pub products: Products,
    /// Each segment's values, rows of the segment's depth.
    pub segments: &'a [&'a [f32]],
}

impl RowSource for DenseRows<'_> {
    fn is_in_place(&self) -> bool {
        self.products == Products::F32
    }

    fn gather(
        &self,
        rows: Range<usize>,
        depth: &Depth,
        scratch: &mut AlignedBuffer,
        table: &mut Vec<*const f32>,
    ) -> Vec<f32> {
        if self.products == Products::F32 {
            tabulate(rows, depth, table, |row, part| {
                let (segment, first, _) = depth.parts[part];
                self.segments[segment][row * depth.segments[segment] + first..].as_ptr()
            });
            return Vec::new();
        }
        let steps: Vec<_> = depth.segments.iter().map(|depth| self.products.steps(*depth)).collect();
        let of_row: usize = steps.iter().sum();
        scratch.reserve(of_row * rows.len());
        let mut scales = Vec::new();
        for (index, row) in rows.clone().enumerate() {
            let parts = self.segments.iter().zip(&depth.segments);
            let parts = parts.map(|(values, depth)| &values[row * depth..(row + 1) * depth]);
            // SAFETY: the scratch has room for all rows of all segments, each rounded up to whole steps.
            unsafe { self.narrow(parts, &steps, scratch.as_mut_ptr::<u32>().add(index * of_row), &mut scales) };
        }
        let (scratch, first_row) = (scratch.as_ptr::<f32>(), rows.start);
        tabulate(rows, depth, table, |row, part| {
            let (segment, first, _) = depth.parts[part];
            let before: usize = steps[..segment].iter().sum();
            // SAFETY: inside what was just filled.
            unsafe { scratch.add((row - first_row) * of_row + before + first / self.products.per_step()) }
        });
        scales
    }
}

impl DenseRows<'_> {
    /// Writes one row's segments, each rounded up to its steps, as bf16 or quantised; of the latter the scale is kept.
    ///
    /// # Safety
    /// `to` has room for the steps.
    unsafe fn narrow<'a>(
        &self,
        parts: impl Iterator<Item = &'a [f32]> + Clone,
        steps: &[usize],
        mut to: *mut u32,
        scales: &mut Vec<f32>,
    ) {
        let mut largest = 0f32;
        if self.products == Products::Int8 {
            parts.clone().for_each(|part| largest_magnitude(part, &mut largest));
            scales.push(largest / 127.0);
        }
        for (part, steps) in parts.zip(steps) {
            // SAFETY: by the caller's promise; what a step has beyond the row meets zeros of the matrix.
            unsafe {
                match self.products {
                    Products::Int8 => {
                        to.write_bytes(0, *steps);
                        let to = std::slice::from_raw_parts_mut(to.cast::<u8>(), part.len());
                        quantise_row(part, quantising_factor(largest), to);
                    }
                    _ => round_to_bf16(InstructionSet::best(), part.as_ptr(), part.len(), to.cast()),
                }
                to = to.add(*steps);
            }
        }
    }
}

multiversion! {
    /// Raises `result` to the largest magnitude of the values; to NaN if one is not finite.
    fn largest_magnitude(values: &[f32], result: &mut f32) {
        let (mut lanes, mut zeros) = ([0f32; 32], [0f32; 32]);
        let mut chunks = values.chunks_exact(32);
        for chunk in &mut chunks {
            for ((lane, zero), value) in lanes.iter_mut().zip(&mut zeros).zip(chunk) {
                *lane = lane.max(value.abs());
                *zero += value * 0.0;
            }
        }
        let rest = chunks.remainder();
        let zero: f32 = zeros.into_iter().chain(rest.iter().map(|value| value * 0.0)).sum();
        let rest = rest.iter().map(|value| value.abs());
        *result = lanes.into_iter().chain(rest).fold(*result, f32::max) + zero + *result * 0.0;
    }
}

multiversion! {
    /// The whole numbers nearest to the values times `factor`, which are -127 to 127, plus [`ZERO`].
    fn quantise_row(values: &[f32], factor: f32, to: &mut [u8]) {
        // Adding 1.5 * 2^23 rounds to the nearest whole number, and leaves it in the low bits.
        const ROUND: f32 = 12_582_912.0 + ZERO as f32;
        for (to, value) in to.iter_mut().zip(values) {
            *to = (value * factor + ROUND).to_bits() as u8;
        }
    }
}

vectorised! {
    /// Rounds `len` numbers to bf16; an odd number of them is followed by a zero.
    ///
    /// # Safety
    /// `from` is good for `len` numbers, `to` for as many bf16, rounded up to an even number.
    pub unsafe fn round_to_bf16<V>(from: *const f32, len: usize, to: *mut u16) {
        // SAFETY: by the caller's promise.
        unsafe {
            let mut done = 0;
            while done + V::LANES <= len {
                V::load(from.add(done)).store_bf16(to.add(done));
                done += V::LANES;
            }
            while done < len {
                to.add(done).write(super::simd::to_bf16(from.add(done).read()));
                done += 1;
            }
            if len % 2 == 1 {
                to.add(len).write(0);
            }
        }
    }
}
