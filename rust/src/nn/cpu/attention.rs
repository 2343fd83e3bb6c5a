//! Attention in tiles with a running softmax (Milakov and Gimelshein 2018; Dao et al. 2022): no buffer grows with the
//! square of the sequence.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::buffer::{Output, Shared};
use super::dispatch::vectorised;
use super::kernel::{PANEL, Products, TILE_ROWS, tile_kernel};
use super::linear::misfit;
use super::packed::{PackedMatrix, Strided};
use super::product::{round_to_bf16, with_scratch};
use super::simd::exp;
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
            let mut lanes = V::splat(least);
            for index in (0..len).step_by(V::LANES) {
                lanes = lanes.max(V::load(row.add(index)));
            }
            let mut each = [f32::NEG_INFINITY; 16];
            lanes.store(each.as_mut_ptr());
            each.into_iter().fold(f32::NEG_INFINITY, f32::max)
        }
    }
}

vectorised! {
    /// Writes `exp((x - most) * scale)` of `len` numbers, as f32 or as bf16, and returns their sum; `len` is a multiple
    /// of 16.
    ///
    /// # Safety
    /// `row` is good for `len` numbers, `to` for as many of the products' kind.
    unsafe fn exponentials<V>(row: *const f32, len: usize, most: f32, scale: f32, to: *mut f32, products: Products) -> f32 {
        // SAFETY: by the caller's promise.
        unsafe {
            let (factor, shift) = (V::splat(scale), V::splat(-most * scale));
            let mut sums = V::splat(0.0);
            for index in (0..len).step_by(V::LANES) {
                let weight = exp(V::load(row.add(index)).mul_add(factor, shift));
                sums = sums.add(weight);
                match products {
                    Products::F32 => weight.store(to.add(index)),
                    Products::Bf16 => weight.store_bf16(to.cast::<u16>().add(index)),
                }
            }
            let mut each = [0f32; 16];
            sums.store(each.as_mut_ptr());
            each.iter().sum()
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

/// The scores of a task: what is kept for each of its queries.
struct Running {
    most: [f32; QUERIES],
    sum: [f32; QUERIES],
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
                        Strided { data: k, column: width, segment: 0, index: 1 },
                    ),
                    values: PackedMatrix::pack(
                        self.products,
                        dim,
                        &blocks,
                        Strided { data: v, column: 1, segment: KEYS * width, index: width },
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
        let set = InstructionSet::best();
        let (products, scale) = (self.products, 1.0 / (dim as f32).sqrt());
        let (rows, steps) = (queries.len().next_multiple_of(TILE_ROWS), products.steps(dim));
        let key_steps = products.steps(KEYS);
        let mixed_width = dim.next_multiple_of(PANEL);
        with_scratch(|[left, sums]| {
            left.reserve(rows * (steps + key_steps));
            sums.reserve(rows * (KEYS + mixed_width));
            let (query, weights) = (left.as_mut_ptr::<f32>(), &mut left.as_mut_ptr::<f32>());
            // SAFETY: the buffers have room for what is put one behind the other.
            let weights = unsafe { weights.add(rows * steps) };
            let scores = sums.as_mut_ptr::<f32>();
            // SAFETY: as above.
            let mixed = unsafe { scores.add(rows * KEYS) };
            for (row, position) in queries.clone().enumerate() {
                let from = &head.q[position * head.stride..][..dim];
                // SAFETY: as above.
                unsafe {
                    match products {
                        Products::F32 => std::ptr::copy_nonoverlapping(from.as_ptr(), query.add(row * steps), dim),
                        Products::Bf16 => round_to_bf16(set, from.as_ptr(), dim, query.add(row * steps).cast()),
                    }
                }
            }
            let last = queries.len() - 1;
            let table = |base: *mut f32, stride: usize, tile: usize| -> [*const f32; TILE_ROWS] {
                // SAFETY: rows of the buffers above.
                std::array::from_fn(|index| unsafe { base.add((tile + index).min(last) * stride).cast_const() })
            };
            let mut running = Running { most: [f32::NEG_INFINITY; QUERIES], sum: [0.0; QUERIES] };
            let visible = if self.causal { keys.min(queries.end) } else { keys };
            for first in (0..visible).step_by(KEYS) {
                let in_block = KEYS.min(keys - first);
                let (first_panel, panels) = (first / PANEL, in_block.div_ceil(PANEL));
                for panel in 0..panels {
                    let width = head.keys.width(first_panel + panel);
                    let kernel = tile_kernel(set, products, width);
                    for tile in (0..rows).step_by(TILE_ROWS) {
                        let rows_of_tile = table(query, steps, tile);
                        // SAFETY: rows of `steps` steps by a panel of as many; scores of KEYS numbers a row.
                        unsafe {
                            let out = scores.add(tile * KEYS + panel * PANEL);
                            let panel = head.keys.panel(first_panel + panel, 0);
                            kernel(rows_of_tile.as_ptr(), &[steps], panel, out, KEYS, false);
                        }
                    }
                }
                for (row, position) in queries.clone().enumerate() {
                    let seen = if self.causal { in_block.min((position + 1).saturating_sub(first)) } else { in_block };
                    // SAFETY: the row's scores have just been computed, up to whole vectors.
                    unsafe {
                        let row_scores = scores.add(row * KEYS);
                        let len = in_block.next_multiple_of(16);
                        std::slice::from_raw_parts_mut(row_scores, len)[seen..].fill(f32::NEG_INFINITY);
                        let before = running.most[row];
                        let most = largest(set, row_scores, len, before);
                        let to = weights.add(row * key_steps);
                        let sum = exponentials(set, row_scores, len, most, scale, to, products);
                        let keep = if before == f32::NEG_INFINITY { 0.0 } else { ((before - most) * scale).exp() };
                        running.most[row] = most;
                        running.sum[row] = running.sum[row] * keep + sum;
                        if first > 0 && keep != 1.0 {
                            scale_row(mixed.add(row * mixed_width), dim, keep);
                        }
                    }
                }
                let block_steps = products.steps(in_block);
                for panel in 0..head.values.panels() {
                    let kernel = tile_kernel(set, products, head.values.width(panel));
                    for tile in (0..rows).step_by(TILE_ROWS) {
                        let rows_of_tile = table(weights, key_steps, tile);
                        // SAFETY: rows of the block's weights by as many steps of a panel.
                        unsafe {
                            let out = mixed.add(tile * mixed_width + panel * PANEL);
                            let panel = head.values.panel(panel, products.steps(KEYS) * (first / KEYS));
                            kernel(rows_of_tile.as_ptr(), &[block_steps], panel, out, mixed_width, first > 0);
                        }
                    }
                }
            }
            for row in 0..queries.len() {
                let share = 1.0 / running.sum[row];
                // SAFETY: the row's mixed values have been computed, and the caller lends the output.
                unsafe {
                    let mixed = std::slice::from_raw_parts(mixed.add(row * mixed_width), dim);
                    let out = std::slice::from_raw_parts_mut(out.at(row * head.stride), dim);
                    for (out, value) in out.iter_mut().zip(mixed) {
                        *out = value * share;
                    }
                }
            }
        });
    }
}

/// # Safety
/// `row` is good for `len` numbers.
unsafe fn scale_row(row: *mut f32, len: usize, factor: f32) {
    // SAFETY: by the caller's promise.
    for value in unsafe { std::slice::from_raw_parts_mut(row, len) } {
        *value *= factor;
    }
}
