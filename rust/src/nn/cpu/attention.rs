//! Attention in tiles with a running softmax (Milakov and Gimelshein 2018; Dao et al. 2022): no buffer grows with the
//! square of the sequence.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::{Output, Shared};
use super::dispatch::vectorised;
use super::kernel::{Ahead, PANEL, Products, TILE_ROWS, tile_kernel};
use super::linear::misfit;
use super::packed::{PackedMatrix, Strided};
use super::product::{round_to_bf16, with_scratch};
use super::simd::{exp, exp2_for_bf16};
use super::tensors::{Values, tensor};
use crate::error::Result;
use crate::instruction_set::InstructionSet;

/// Queries that one task takes.
const QUERIES: usize = 64;
/// Keys whose scores are held at a time.
const KEYS: usize = 8 * PANEL;

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

vectorised! {
    /// The largest of `len` numbers and `least`; `len` is a multiple of 16.
    ///
    /// # Safety
    /// `row` is good for `len` numbers.
    unsafe fn largest<V>(row: *const f32, len: usize, least: f32) -> f32 {
        // SAFETY: by the caller's promise.
        unsafe {
            let (mut even, mut odd) = (V::splat(least), V::splat(least));
            let mut index = 0;
            while index + 2 * V::LANES <= len {
                even = even.max(V::load(row.add(index)));
                odd = odd.max(V::load(row.add(index + V::LANES)));
                index += 2 * V::LANES;
            }
            if index < len {
                even = even.max(V::load(row.add(index)));
            }
            even.max(odd).largest_lane()
        }
    }
}

vectorised! {
    /// Writes `e^(x * scale - most * scale)` of `len` numbers, as f32 or as bf16, and returns their sum; `len` is a multiple
    /// of 16.
    ///
    /// # Safety
    /// `row` is good for `len` numbers, `to` for as many of the products' kind.
    unsafe fn exponentials<V>(row: *const f32, len: usize, most: f32, scale: f32, to: *mut f32, products: Products) -> f32 {
        // SAFETY: by the caller's promise.
        unsafe {
            let (mut sums, most) = (V::splat(0.0), V::splat(most));
            match products {
                Products::F32 => {
                    let factor = V::splat(scale);
                    for index in (0..len).step_by(V::LANES) {
                        let weight = exp(V::load(row.add(index)).sub(most).mul(factor));
                        sums = sums.add(weight);
                        weight.store(to.add(index));
                    }
                }
                Products::Bf16 | Products::Int8 => {
                    let factor = V::splat(scale * std::f32::consts::LOG2_E);
                    for index in (0..len).step_by(V::LANES) {
                        let weight = exp2_for_bf16(V::load(row.add(index)).sub(most).mul(factor));
                        sums = sums.add(weight);
                        weight.store_bf16(to.cast::<u16>().add(index));
                    }
                }
            }
            sums.sum_of_lanes()
        }
    }
}

/// One head's operands.
struct Head<'a> {
    q: &'a [f32],
    /// Numbers from one query to the next.
    stride: usize,
    keys: PackedMatrix,
    values: PackedMatrix,
}

/// What is kept of a query's scores while its keys are gone through.
#[derive(Clone, Copy)]
struct Running {
    most: f32,
    sum: f32,
}

/// A task's buffers: eight queries' scores and weights at a time stay in the first-level cache.
struct Work {
    /// Queries, in steps.
    queries: *mut f32,
    /// Weights of one tile of queries by [`KEYS`] keys, in steps.
    weights: *mut f32,
    /// Scores of the same.
    scores: *mut f32,
    /// Mixed values of all queries.
    mixed: *mut f32,
    mixed_width: usize,
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
        let dim = width / self.heads;
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let (q, k, v) = (Values::of(&q)?, Values::of(&k)?, Values::of(&v)?);
        let (q, k, v): (&[f32], &[f32], &[f32]) = (&q, &k, &v);
        let blocks: Vec<usize> = (0..keys).step_by(KEYS).map(|first| KEYS.min(keys - first)).collect();
        let heads: Vec<Head<'_>> = (0..batch * self.heads)
            .into_par_iter()
            .map(|index| {
                let (image, column) = (index / self.heads, index % self.heads * dim);
                let (k, v) = (&k[image * keys * width + column..], &v[image * keys * width + column..]);
                Head {
                    q: &q[image * queries * width + column..],
                    stride: width,
                    keys: PackedMatrix::pack(
                        self.products,
                        keys,
                        &[dim],
                        Strided { data: k, column: width, segment: 0, index: 1, factors: &[] },
                    ),
                    values: PackedMatrix::pack(
                        self.products,
                        dim,
                        &blocks,
                        Strided { data: v, column: 1, segment: KEYS * width, index: width, factors: &[] },
                    ),
                }
            })
            .collect();
        let mut output = Output::new(batch * queries * width);
        let out = output.shared();
        let tasks: Vec<_> =
            (0..heads.len()).flat_map(|head| (0..queries).step_by(QUERIES).map(move |first| (head, first))).collect();
        tasks.into_par_iter().for_each(|(index, first)| {
            let (image, column) = (index / self.heads, index % self.heads * dim);
            let queries_of_task = first..queries.min(first + QUERIES);
            // SAFETY: each task writes its own head of its own queries.
            unsafe {
                let out = Shared::new(out.at((image * queries + first) * width + column));
                self.attend(&heads[index], dim, queries_of_task, keys, out);
            }
        });
        // SAFETY: every query's heads have been written.
        unsafe { tensor(output, (batch, queries, width)) }
    }

    /// Writes the mixed values of some queries to `out`, rows as far apart as the queries are.
    ///
    /// # Safety
    /// `out` has room for them.
    unsafe fn attend(&self, head: &Head<'_>, dim: usize, queries: Range<usize>, keys: usize, out: Shared<f32>) {
        let steps = self.products.steps(dim);
        let (rows, mixed_width) = (queries.len().next_multiple_of(TILE_ROWS), dim.next_multiple_of(PANEL));
        with_scratch(|[left, sums]| {
            left.reserve(rows * steps + TILE_ROWS * self.products.steps(KEYS));
            sums.reserve(TILE_ROWS * KEYS + rows * mixed_width);
            let (queries_at, scores) = (left.as_mut_ptr::<f32>(), sums.as_mut_ptr::<f32>());
            // SAFETY: the buffers have room for what lies in them one behind the other.
            let (weights, mixed) = unsafe { (queries_at.add(rows * steps), scores.add(TILE_ROWS * KEYS)) };
            let work = Work { queries: queries_at, weights, scores, mixed, mixed_width };
            for (row, position) in queries.clone().enumerate() {
                let from = &head.q[position * head.stride..][..dim];
                // SAFETY: as above.
                unsafe { self.round(from, work.queries.add(row * steps)) };
            }
            let mut running = [Running { most: f32::NEG_INFINITY, sum: 0.0 }; QUERIES];
            let visible = if self.causal { keys.min(queries.end) } else { keys };
            for first in (0..visible).step_by(KEYS) {
                let block = first..keys.min(first + KEYS);
                for tile in (0..queries.len()).step_by(TILE_ROWS) {
                    let of_tile = queries.start + tile..queries.end.min(queries.start + tile + TILE_ROWS);
                    // SAFETY: the buffers were made for these queries and keys.
                    unsafe {
                        self.score(head, steps, tile, of_tile.len(), &block, &work);
                        self.weigh(dim, tile, of_tile.clone(), &block, &mut running[tile..], &work);
                        self.mix(head, tile, of_tile.len(), &block, &work);
                    }
                }
            }
            for (row, running) in running.iter().enumerate().take(queries.len()) {
                let share = 1.0 / running.sum;
                // SAFETY: the row's mixed values have been computed, and the caller lends the output.
                unsafe {
                    let mixed = std::slice::from_raw_parts(work.mixed.add(row * mixed_width), dim);
                    let out = std::slice::from_raw_parts_mut(out.at(row * head.stride), dim);
                    for (out, value) in out.iter_mut().zip(mixed) {
                        *out = value * share;
                    }
                }
            }
        });
    }

    /// Copies numbers as what is multiplied.
    ///
    /// # Safety
    /// `to` has room for their steps.
    unsafe fn round(&self, from: &[f32], to: *mut f32) {
        // SAFETY: by the caller's promise.
        unsafe {
            match self.products {
                Products::F32 => std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()),
                Products::Bf16 | Products::Int8 => {
                    round_to_bf16(InstructionSet::best(), from.as_ptr(), from.len(), to.cast())
                }
            }
        }
    }

    /// The scores of one tile of queries by a block of keys.
    unsafe fn score(
        &self,
        head: &Head<'_>,
        steps: usize,
        tile: usize,
        queries: usize,
        block: &Range<usize>,
        work: &Work,
    ) {
        let first = block.start / PANEL;
        for panel in 0..block.len().div_ceil(PANEL) {
            let kernel = tile_kernel(InstructionSet::best(), self.products, head.keys.width(first + panel));
            // SAFETY: rows of `steps` steps by a panel of as many; scores of KEYS numbers a row.
            unsafe {
                let rows = rows(work.queries.add(tile * steps), steps, queries);
                let out = work.scores.add(panel * PANEL);
                kernel(rows.as_ptr(), &[steps], head.keys.panel(first + panel, 0), out, KEYS, false, Ahead::NONE);
            }
        }
    }

    /// Turns the scores of one tile of queries into weights, and brings what was mixed before to the same scale.
    unsafe fn weigh(
        &self,
        dim: usize,
        tile: usize,
        queries: Range<usize>,
        block: &Range<usize>,
        running: &mut [Running],
        work: &Work,
    ) {
        let (set, scale) = (InstructionSet::best(), 1.0 / (dim as f32).sqrt());
        let len = block.len().next_multiple_of(16);
        for (row, (position, running)) in queries.zip(running).enumerate() {
            let seen = if self.causal { (position + 1).saturating_sub(block.start) } else { usize::MAX };
            // SAFETY: the row's scores have just been computed, up to whole vectors.
            unsafe {
                let scores = work.scores.add(row * KEYS);
                std::slice::from_raw_parts_mut(scores, len)[seen.min(block.len())..].fill(f32::NEG_INFINITY);
                let most = largest(set, scores, len, running.most);
                let to = work.weights.add(row * self.products.steps(KEYS));
                let sum = exponentials(set, scores, len, most, scale, to, self.products);
                if most > running.most && block.start > 0 {
                    let keep = ((running.most - most) * scale).exp();
                    running.sum *= keep;
                    let mixed = work.mixed.add((tile + row) * work.mixed_width);
                    std::slice::from_raw_parts_mut(mixed, dim).iter_mut().for_each(|value| *value *= keep);
                }
                running.most = most;
                running.sum += sum;
            }
        }
    }

    /// Adds a block of values, weighed, to the mixed ones of one tile of queries.
    unsafe fn mix(&self, head: &Head<'_>, tile: usize, queries: usize, block: &Range<usize>, work: &Work) {
        let steps = self.products.steps(block.len());
        for panel in 0..head.values.panels() {
            let kernel = tile_kernel(InstructionSet::best(), self.products, head.values.width(panel));
            // SAFETY: rows of the block's weights by as many steps of a panel.
            unsafe {
                let rows = rows(work.weights, self.products.steps(KEYS), queries);
                let out = work.mixed.add(tile * work.mixed_width + panel * PANEL);
                let values = head.values.panel(panel, self.products.steps(block.start));
                kernel(rows.as_ptr(), &[steps], values, out, work.mixed_width, block.start > 0, Ahead::NONE);
            }
        }
    }
}

/// Pointers to the rows of a tile, of which the last one is repeated.
///
/// # Safety
/// `count` rows lie from `first` on, `stride` apart.
unsafe fn rows(first: *const f32, stride: usize, count: usize) -> [*const f32; TILE_ROWS] {
    // SAFETY: by the caller's promise.
    std::array::from_fn(|row| unsafe { first.add(row.min(count - 1) * stride) })
}
