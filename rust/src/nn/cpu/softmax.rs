//! A softmax that runs down blocks of scores, keys by queries (Milakov and Gimelshein 2018).

use super::dispatch::vectorised;
use super::kernel::{PANEL, Products};
use super::simd::{Simd, exp, exp2_for_bf16};

/// Keys whose scores are held at a time: with a panel of queries they stay in the first-level cache.
pub const KEYS: usize = 128;

/// What is kept of a panel of queries while their keys are gone through.
#[derive(Clone, Copy)]
pub struct Running {
    /// The largest scores.
    pub most: [f32; PANEL],
    /// The sums of the weights.
    pub sum: [f32; PANEL],
    /// What brings what was summed before to the scale of now.
    pub keep: [f32; PANEL],
}

impl Running {
    /// Before the first key.
    pub const NOTHING: Self = Self { most: [f32::NEG_INFINITY; PANEL], sum: [0.0; PANEL], keep: [1.0; PANEL] };
}

/// A block of scores: as many rows as there are keys, of a panel's `width` queries each, and room for [`KEYS`] steps of
/// such rows; behind that, room for half as many.
#[derive(Clone, Copy)]
pub struct Scores {
    /// The first score.
    pub data: *mut f32,
    /// Rows.
    pub keys: usize,
    /// Columns.
    pub width: usize,
}

impl Scores {
    /// Numbers that a block takes at most.
    pub const ROOM: usize = (KEYS + KEYS / 2) * PANEL;

    /// Where the weights are that become of the scores.
    pub fn weights(self, products: Products) -> *mut f32 {
        if products == Products::F32 { self.data } else { self.data.wrapping_add(KEYS * PANEL) }
    }
}

/// e to the power of what a score is above `most`, times 1 / sqrt(d). In f32 the distance meets no rounded logarithm: where
/// scores lie far apart, that would be 1e-5 of a weight.
#[inline(always)]
unsafe fn exponential<V: Simd>(score: V, most: V, scale: V, products: Products) -> V {
    let x = score.sub(most).mul(scale);
    // SAFETY: a value proves that the machine has the instructions.
    unsafe {
        match products {
            Products::F32 => exp(x),
            Products::Bf16 | Products::Int8 => exp2_for_bf16(x.mul(V::splat(std::f32::consts::LOG2_E))),
        }
    }
}

/// Stores the weights of two keys in rows of `width`, as what is multiplied.
#[inline(always)]
unsafe fn store_pair<V: Simd>(first: V, second: V, to: *mut f32, width: usize, key: usize, products: Products) {
    // SAFETY: by the promise of `weigh`'s caller.
    unsafe {
        if products == Products::F32 {
            first.store(to.add(key * width));
            second.store(to.add((key + 1) * width));
        } else {
            first.pair_bf16(second).store(to.add(key / 2 * width));
        }
    }
}

vectorised! {
    /// Turns scores into weights: those of f32 in place, those of bf16 as pairs behind the scores.
    ///
    /// # Safety
    /// The scores are as [`Scores`] says.
    pub unsafe fn weigh<V>(scores: Scores, factor: f32, running: &mut Running, products: Products) {
        // SAFETY: by the caller's promise.
        unsafe {
            let (scale, Scores { keys, width, .. }) = (V::splat(factor), scores);
            let weights = scores.weights(products);
            for column in (0..width).step_by(V::LANES) {
                let scores = scores.data.add(column);
                let before = V::load(running.most.as_ptr().add(column));
                let (mut even, mut odd) = (V::load(scores), V::load(scores.add((keys - 1) * width)));
                for pair in 1..keys.div_ceil(2) {
                    even = even.max(V::load(scores.add(2 * pair * width)));
                    odd = odd.max(V::load(scores.add((2 * pair - 1) * width)));
                }
                let most = before.max(even.max(odd));
                let keep = exp(before.sub(most).mul(scale));
                let (mut even, mut odd) = (V::splat(0.0), V::splat(0.0));
                for key in (0..keys / 2 * 2).step_by(2) {
                    let first = exponential(V::load(scores.add(key * width)), most, scale, products);
                    let second = exponential(V::load(scores.add((key + 1) * width)), most, scale, products);
                    (even, odd) = (even.add(first), odd.add(second));
                    store_pair(first, second, weights.add(column), width, key, products);
                }
                if keys % 2 == 1 {
                    let last = exponential(V::load(scores.add((keys - 1) * width)), most, scale, products);
                    even = even.add(last);
                    store_pair(last, V::splat(0.0), weights.add(column), width, keys - 1, products);
                }
                let sum = V::load(running.sum.as_ptr().add(column)).mul_add(keep, even.add(odd));
                most.store(running.most.as_mut_ptr().add(column));
                keep.store(running.keep.as_mut_ptr().add(column));
                sum.store(running.sum.as_mut_ptr().add(column));
            }
        }
    }
}

vectorised! {
    /// Multiplies `rows` rows of `width` numbers by `factors`.
    ///
    /// # Safety
    /// `to` is good for the rows; the width is that of a panel.
    pub unsafe fn rescale<V>(to: *mut f32, rows: usize, width: usize, factors: &[f32; PANEL]) {
        // SAFETY: by the caller's promise.
        unsafe {
            for row in 0..rows {
                for column in (0..width).step_by(V::LANES) {
                    let (to, factor) = (to.add(row * width + column), V::load(factors.as_ptr().add(column)));
                    V::load(to).mul(factor).store(to);
                }
            }
        }
    }
}
