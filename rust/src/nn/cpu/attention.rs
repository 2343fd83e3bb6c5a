//! Attention in tiles with a running softmax (Milakov and Gimelshein 2018; Dao et al. 2022): no buffer grows with the
//! square of the sequence.
//!
//! Scores are computed as keys by queries, and values mixed as numbers of a value by queries: what a product has in its
//! panels are queries both times, so that a head's width need not fill vectors, the softmax runs down columns lane by lane,
//! and its weights lie where the second product reads them.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Output, Shared};
use super::dense_rows::round_to_bf16;
use super::kernel::{Ahead, PANEL, PANEL_UNIT, Products, TILE_ROWS, Tile, tile_kernel};
use super::linear::misfit;
use super::product::with_scratch;
use super::softmax::{KEYS, Running, Scores, rescale, weigh};
use super::tensors::{Values, tensor};
use crate::error::Result;
use crate::instruction_set::InstructionSet;

/// Queries that one task takes, in panels.
const PANELS: usize = 4;
/// Queries that one task takes.
const QUERIES: usize = PANELS * PANEL;

/// `softmax(q k^T / sqrt(d)) v`, head by head.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// What is multiplied.
    pub products: Products,
    /// Number of heads.
    pub heads: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
}

/// The operands of all heads, and what their queries' results go to.
struct Operands<'a> {
    products: Products,
    causal: bool,
    /// Queries, keys, and the width of a head.
    sizes: (usize, usize, usize),
    /// Numbers from one position of a sequence to the next.
    stride: usize,
    q: &'a [f32],
    /// Keys of one head after those of another, each in whole steps.
    keys: &'a AlignedBuffer,
    /// For each head and block of keys: each number of the values, for all keys of the block in whole steps.
    values: &'a AlignedBuffer,
    out: Shared<f32>,
}

impl Attention {
    /// q (batch, n, heads * d), k and v (batch, m, heads * d) to (batch, n, heads * d).
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for shapes that do not fit.
    pub fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (batch, queries, width) = q.dims3()?;
        let (_, keys, _) = k.dims3()?;
        if k.dims() != [batch, keys, width] || v.dims() != k.dims() || keys == 0 {
            return Err(misfit("keys and values", &[k.dims(), v.dims()].concat(), &[batch, keys, width]));
        }
        if self.heads == 0 || width % self.heads != 0 || width == 0 {
            return Err(misfit("the number of heads", &[self.heads], &[width]));
        }
        if batch == 0 || queries == 0 {
            return Ok(q.clone());
        }
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let (q, k, v) = (Values::of(&q)?, Values::of(&k)?, Values::of(&v)?);
        let (packed_keys, packed_values) = self.pack(&k, &v, (batch, keys, width));
        let mut output = Output::new(batch * queries * width);
        let operands = Operands {
            products: self.products,
            causal: self.causal,
            sizes: (queries, keys, width / self.heads),
            stride: width,
            q: &q,
            keys: &packed_keys,
            values: &packed_values,
            out: output.shared(),
        };
        let tasks: Vec<_> = (0..batch * self.heads)
            .flat_map(|head| (0..queries).step_by(QUERIES).map(move |first| (head, first)))
            .collect();
        tasks.into_par_iter().for_each(|(head, first)| {
            let (image, column) = (head / self.heads, head % self.heads * operands.sizes.2);
            let offset = image * queries * width + column;
            // SAFETY: the operands were made for these sizes, and each task has its own queries of its own head.
            unsafe { operands.attend(head, offset, first..queries.min(first + QUERIES)) };
        });
        // SAFETY: every query's heads have been written.
        unsafe { tensor(output, (batch, queries, width)) }
    }

    /// Keys and values as [`Operands`] has them.
    fn pack(
        &self,
        k: &[f32],
        v: &[f32],
        (batch, keys, width): (usize, usize, usize),
    ) -> (AlignedBuffer, AlignedBuffer) {
        let (products, heads, dim) = (self.products, batch * self.heads, width / self.heads);
        let (of_key, of_block, blocks) = (products.steps(dim), products.steps(KEYS), keys.div_ceil(KEYS));
        let mut packed_keys = AlignedBuffer::new(heads * keys * of_key);
        let mut packed_values = AlignedBuffer::new(heads * blocks * dim * of_block);
        let (to_keys, to_values) =
            (Shared::new(packed_keys.as_mut_ptr::<f32>()), Shared::new(packed_values.as_mut_ptr::<u32>()));
        (0..heads * blocks).into_par_iter().for_each(|task| {
            let (head, block) = (task / blocks, task % blocks * KEYS);
            let from = head / self.heads * keys * width + head % self.heads * dim;
            let mut rounded = vec![0f32; of_key];
            for key in block..keys.min(block + KEYS) {
                let position = from + key * width..from + key * width + dim;
                // SAFETY: each task has its own keys, and the buffers were made for all of them.
                unsafe {
                    round(products, &k[position.clone()], to_keys.at((head * keys + key) * of_key));
                    round(products, &v[position], rounded.as_mut_ptr());
                    scatter(products, &rounded, dim, to_values.at(task * dim * of_block), of_block, key - block);
                }
            }
            if products.per_step() > 1 && keys % 2 == 1 && block + KEYS >= keys {
                // SAFETY: as above; what a step has beyond the last key meets no weight, but must be a number.
                unsafe {
                    let zeros = vec![0.0; of_key];
                    scatter(products, &zeros, dim, to_values.at(task * dim * of_block), of_block, keys - block);
                }
            }
        });
        (packed_keys, packed_values)
    }
}

/// Copies numbers as what is multiplied.
///
/// # Safety
/// `to` has room for their steps.
unsafe fn round(products: Products, from: &[f32], to: *mut f32) {
    // SAFETY: by the caller's promise.
    unsafe {
        match products {
            Products::F32 => std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()),
            Products::Bf16 | Products::Int8 => {
                round_to_bf16(InstructionSet::best(), from.as_ptr(), from.len(), to.cast())
            }
        }
    }
}

/// Writes `dim` numbers, rounded as [`round`] does, to place `index` of rows that are `stride` steps apart.
///
/// # Safety
/// The rows have room.
unsafe fn scatter(products: Products, rounded: &[f32], dim: usize, to: *mut u32, stride: usize, index: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        for number in 0..dim {
            let row = to.add(number * stride);
            match products {
                Products::F32 => row.add(index).write(rounded[number].to_bits()),
                Products::Bf16 | Products::Int8 => {
                    row.cast::<u16>().add(index).write(rounded.as_ptr().cast::<u16>().add(number).read());
                }
            }
        }
    }
}

impl Operands<'_> {
    /// Computes some queries of one head, whose numbers begin at `offset` of a position.
    ///
    /// # Safety
    /// The queries are the head's, and nobody else writes what becomes of them.
    unsafe fn attend(&self, head: usize, offset: usize, queries: Range<usize>) {
        let (_, keys, dim) = self.sizes;
        let (set, factor) = (InstructionSet::best(), 1.0 / (dim as f32).sqrt());
        let steps = self.products.steps(dim);
        let of_panel = dim.next_multiple_of(TILE_ROWS) * PANEL;
        let panels: Vec<_> =
            queries.clone().step_by(PANEL).map(|first| first..queries.end.min(first + PANEL)).collect();
        with_scratch(|[left, sums]| {
            left.reserve(PANELS * steps * PANEL);
            sums.reserve(PANELS * of_panel + Scores::ROOM);
            let (packed, mixed) = (left.as_mut_ptr::<f32>(), sums.as_mut_ptr::<f32>());
            for (index, panel) in panels.iter().enumerate() {
                // SAFETY: each panel has its own part.
                unsafe { self.pack_queries(offset, panel.clone(), packed.add(index * steps * PANEL)) };
            }
            let mut running = [Running::NOTHING; PANELS];
            let visible = if self.causal { keys.min(queries.end) } else { keys };
            for first in (0..visible).step_by(KEYS) {
                let block = first..keys.min(first + KEYS);
                for (index, panel) in panels.iter().enumerate() {
                    let running = &mut running[index];
                    // SAFETY: the buffers were made for these queries and keys.
                    unsafe {
                        let (packed, scores) = (packed.add(index * steps * PANEL), mixed.add(PANELS * of_panel));
                        let (mixed, width) = (mixed.add(index * of_panel), panel.len().next_multiple_of(PANEL_UNIT));
                        let scores = Scores { data: scores, keys: block.len(), width };
                        self.score(head, &block, packed, scores);
                        self.hide(&block, panel, scores);
                        weigh(set, scores, factor, running, self.products);
                        if first > 0 && running.keep != [1.0; PANEL] {
                            rescale(set, mixed, dim, width, &running.keep);
                        }
                        self.mix(head, &block, scores, mixed);
                    }
                }
            }
            for (index, panel) in panels.iter().enumerate() {
                let width = panel.len().next_multiple_of(PANEL_UNIT);
                for (column, query) in panel.clone().enumerate() {
                    let share = 1.0 / running[index].sum[column];
                    // SAFETY: the panel's values have been mixed, and the caller lends the output.
                    unsafe {
                        let mixed = mixed.add(index * of_panel + column);
                        let out = self.out.at(offset + query * self.stride);
                        for number in 0..dim {
                            out.add(number).write(mixed.add(number * width).read() * share);
                        }
                    }
                }
            }
        });
    }

    /// A panel of queries, of which the last one fills the panel.
    ///
    /// # Safety
    /// `to` has room for a panel.
    unsafe fn pack_queries(&self, offset: usize, queries: Range<usize>, to: *mut f32) {
        let (dim, width) = (self.sizes.2, queries.len().next_multiple_of(PANEL_UNIT));
        let mut rounded = vec![0f32; self.products.steps(dim)];
        for column in 0..width {
            let query = (queries.start + column).min(queries.end - 1);
            let from = offset + query * self.stride;
            // SAFETY: by the caller's promise.
            unsafe {
                round(self.products, &self.q[from..from + dim], rounded.as_mut_ptr());
                for (step, value) in rounded.iter().enumerate() {
                    to.add(step * width + column).write(*value);
                }
            }
        }
    }

    /// The scores of a block of keys by a panel of queries.
    unsafe fn score(&self, head: usize, block: &Range<usize>, queries: *const f32, scores: Scores) {
        let (_, keys, dim) = self.sizes;
        let (steps, width) = (self.products.steps(dim), scores.width);
        let kernel = tile_kernel(InstructionSet::best(), self.products, width);
        for tile in (0..block.len()).step_by(TILE_ROWS) {
            // SAFETY: rows of `steps` steps by a panel of as many; there is room for whole tiles of scores.
            unsafe {
                let first = self.keys.as_ptr::<f32>().add((head * keys + block.start + tile) * steps);
                let rows = rows(first, steps, block.len() - tile);
                kernel(&Tile {
                    rows: rows.as_ptr(),
                    depths: &[steps],
                    panel: queries,
                    out: scores.data.add(tile * width),
                    stride: width,
                    accumulate: false,
                    ahead: Ahead::NONE,
                });
            }
        }
    }

    /// Takes from the queries of a panel the keys that come after them.
    unsafe fn hide(&self, block: &Range<usize>, queries: &Range<usize>, scores: Scores) {
        if !self.causal || block.end <= queries.start + 1 {
            return;
        }
        for (row, key) in block.clone().enumerate() {
            let hidden = key.saturating_sub(queries.start).min(scores.width);
            // SAFETY: inside of the block's scores.
            unsafe { std::slice::from_raw_parts_mut(scores.data.add(row * scores.width), hidden) }
                .fill(f32::NEG_INFINITY);
        }
    }

    /// Adds a block of values, weighed, to the mixed ones of a panel of queries.
    unsafe fn mix(&self, head: usize, block: &Range<usize>, scores: Scores, mixed: *mut f32) {
        let (_, keys, dim) = self.sizes;
        let (of_block, steps) = (self.products.steps(KEYS), self.products.steps(block.len()));
        let (weights, width) = (scores.weights(self.products), scores.width);
        let kernel = tile_kernel(InstructionSet::best(), self.products, width);
        for number in (0..dim).step_by(TILE_ROWS) {
            // SAFETY: rows of the block's values by as many steps of weights; there is room for whole tiles of numbers.
            unsafe {
                let blocks_before = head * keys.div_ceil(KEYS) + block.start / KEYS;
                let first = self.values.as_ptr::<f32>().add((blocks_before * dim + number) * of_block);
                let rows = rows(first, of_block, dim - number);
                kernel(&Tile {
                    rows: rows.as_ptr(),
                    depths: &[steps],
                    panel: weights,
                    out: mixed.add(number * width),
                    stride: width,
                    accumulate: block.start > 0,
                    ahead: Ahead::NONE,
                });
            }
        }
    }
}

/// Pointers to the rows of a tile; where there are fewer, the last one is repeated.
///
/// # Safety
/// `count` rows lie from `first` on, `stride` apart.
unsafe fn rows(first: *const f32, stride: usize, count: usize) -> [*const f32; TILE_ROWS] {
    // SAFETY: by the caller's promise.
    std::array::from_fn(|row| unsafe { first.add(row.min(count - 1) * stride) })
}
