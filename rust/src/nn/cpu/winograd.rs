//! 3x3 convolutions by Winograd's minimal filtering (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural
//! Networks"): the input in overlapping tiles, transformed, multiplied position by position, transformed back.
//!
//! Transforms are computed in f32 whatever is multiplied. Relative RMS error of one convolution of 256 channels:
//! F(4x4) in f32 3.5e-7, F(2x2) with products in bf16 0.41 %, against 0.23 % without Winograd.

use std::ops::Range;

use rayon::prelude::*;

use super::conv2d::{Finish, Image, Method};
use super::dispatch::vectorised;
use super::kernel::{PANEL, Products, TILE_ROWS};
use super::packed::PackedMatrix;
use super::product::{Depth, TASKS, multiply_panel, with_scratch};
use super::simd::Simd;
use crate::instruction_set::InstructionSet;

/// One-dimensional transforms for `OUT` outputs from `IN = OUT + 2` inputs.
trait Transform<const OUT: usize, const IN: usize> {
    /// B^T d
    ///
    /// # Safety
    /// The machine has the vector's instructions.
    unsafe fn input<V: Simd>(d: [V; IN]) -> [V; IN];
    /// A^T m
    ///
    /// # Safety
    /// The machine has the vector's instructions.
    unsafe fn output<V: Simd>(m: [V; IN]) -> [V; OUT];
    /// G g
    fn weight(g: [f64; 3]) -> [f64; IN];
    /// [`input_tile`] with the machine's instructions.
    ///
    /// # Safety
    /// As for [`input_tile`].
    unsafe fn transform_input(set: InstructionSet, pixels: &[*const f32], inputs: usize, to: Rows);
    /// [`output_tile`] with the machine's instructions.
    ///
    /// # Safety
    /// As for [`output_tile`].
    unsafe fn transform_output(set: InstructionSet, sums: *const f32, stride: usize, width: usize, out: *mut f32);
}

/// Where a transformed tile goes: one row for each position.
#[derive(Clone, Copy)]
struct Rows {
    data: *mut f32,
    /// Steps from the row of one position to that of the next.
    stride: usize,
    products: Products,
}

/// B^T d B for all channels of one tile.
///
/// # Safety
/// `pixels` has a pointer to `inputs` numbers for each position, row by row; `to` has room for as many, rounded up to
/// whole vectors, for each position.
#[inline(always)]
unsafe fn input_tile<V: Simd, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    pixels: &[*const f32],
    inputs: usize,
    to: Rows,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let mut channel = 0;
        while channel + V::LANES <= inputs {
            input_vector::<V, T, OUT, IN>(|position| V::load(pixels[position].add(channel)), channel, to);
            channel += V::LANES;
        }
        if channel < inputs {
            let load = |position: usize| {
                let mut padded = [0f32; 16];
                std::ptr::copy_nonoverlapping(pixels[position].add(channel), padded.as_mut_ptr(), inputs - channel);
                V::load(padded.as_ptr())
            };
            input_vector::<V, T, OUT, IN>(load, channel, to);
        }
    }
}

/// B^T d B for a vector of channels from `channel` on, where `load` gives d's positions.
#[inline(always)]
unsafe fn input_vector<V: Simd, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    load: impl Fn(usize) -> V,
    channel: usize,
    to: Rows,
) {
    // SAFETY: by the promise of `input_tile`'s caller.
    unsafe {
        let columns: [[V; IN]; IN] =
            std::array::from_fn(|x| T::input(std::array::from_fn(|y| load(y * IN + x))));
        for y in 0..IN {
            let row = T::input(std::array::from_fn(|x| columns[x][y]));
            for (x, value) in row.into_iter().enumerate() {
                let to_row = to.data.add((y * IN + x) * to.stride);
                match to.products {
                    Products::F32 => value.store(to_row.add(channel)),
                    Products::Bf16 => value.store_bf16(to_row.cast::<u16>().add(channel)),
                }
            }
        }
    }
}

/// A^T m A for all columns of one tile's panel.
///
/// # Safety
/// The sums of each position are `width` numbers, `stride` apart; `out` has room for `width` numbers for each output.
#[inline(always)]
unsafe fn output_tile<V: Simd, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    sums: *const f32,
    stride: usize,
    width: usize,
    out: *mut f32,
) {
    // SAFETY: by the caller's promise; panels are multiples of all vectors.
    unsafe {
        for first in (0..width).step_by(V::LANES) {
            let mut columns = [[V::splat(0.0); OUT]; IN];
            for (x, column) in columns.iter_mut().enumerate() {
                *column = T::output(std::array::from_fn(|y| V::load(sums.add((y * IN + x) * stride + first))));
            }
            for y in 0..OUT {
                let row = T::output(std::array::from_fn(|x| columns[x][y]));
                for (x, value) in row.into_iter().enumerate() {
                    value.store(out.add((y * OUT + x) * width + first));
                }
            }
        }
    }
}

macro_rules! tiles {
    ($kind:ty, $out:literal, $in:literal) => {
        unsafe fn transform_input(set: InstructionSet, pixels: &[*const f32], inputs: usize, to: Rows) {
            vectorised! {
                unsafe fn run<V>(pixels: &[*const f32], inputs: usize, to: Rows) {
                    // SAFETY: by the caller's promise.
                    unsafe { input_tile::<V, $kind, $out, $in>(pixels, inputs, to) }
                }
            }
            // SAFETY: by the caller's promise.
            unsafe { run(set, pixels, inputs, to) }
        }

        unsafe fn transform_output(set: InstructionSet, sums: *const f32, stride: usize, width: usize, out: *mut f32) {
            vectorised! {
                unsafe fn run<V>(sums: *const f32, stride: usize, width: usize, out: *mut f32) {
                    // SAFETY: by the caller's promise.
                    unsafe { output_tile::<V, $kind, $out, $in>(sums, stride, width, out) }
                }
            }
            // SAFETY: by the caller's promise.
            unsafe { run(set, sums, stride, width, out) }
        }
    };
}

struct F2;
struct F4;

impl Transform<2, 4> for F2 {
    #[inline(always)]
    unsafe fn input<V: Simd>(d: [V; 4]) -> [V; 4] {
        [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])]
    }

    #[inline(always)]
    unsafe fn output<V: Simd>(m: [V; 4]) -> [V; 2] {
        [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])]
    }

    fn weight(g: [f64; 3]) -> [f64; 4] {
        [g[0], (g[0] + g[1] + g[2]) / 2.0, (g[0] - g[1] + g[2]) / 2.0, g[2]]
    }

    tiles!(F2, 2, 4);
}

impl Transform<4, 6> for F4 {
    #[inline(always)]
    unsafe fn input<V: Simd>(d: [V; 6]) -> [V; 6] {
        // SAFETY: by the caller's promise.
        let [two, four, minus_four, minus_five] = unsafe { [2.0, 4.0, -4.0, -5.0].map(|c| V::splat(c)) };
        let even = d[2].mul_add(minus_four, d[4]);
        let odd = d[1].mul_add(minus_four, d[3]);
        let (near_even, near_odd) = (d[4].sub(d[2]), d[3].sub(d[1]).mul(two));
        [
            d[0].mul_add(four, d[2].mul_add(minus_five, d[4])),
            even.add(odd),
            even.sub(odd),
            near_even.add(near_odd),
            near_even.sub(near_odd),
            d[1].mul_add(four, d[3].mul_add(minus_five, d[5])),
        ]
    }

    #[inline(always)]
    unsafe fn output<V: Simd>(m: [V; 6]) -> [V; 4] {
        // SAFETY: by the caller's promise.
        let [two, four, eight] = unsafe { [2.0, 4.0, 8.0].map(|c| V::splat(c)) };
        let (near_sum, near_difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(near_sum).add(far_sum),
            far_difference.mul_add(two, near_difference),
            far_sum.mul_add(four, near_sum),
            far_difference.mul_add(eight, near_difference).add(m[5]),
        ]
    }

    fn weight(g: [f64; 3]) -> [f64; 6] {
        let (even, odd) = (g[0] + g[2], g[1]);
        let (far_even, far_odd) = (g[0] / 24.0 + g[2] / 6.0, g[1] / 12.0);
        [g[0] / 4.0, -(even + odd) / 6.0, -(even - odd) / 6.0, far_even + far_odd, far_even - far_odd, g[2]]
    }

    tiles!(F4, 4, 6);
}

/// The transformed weights of one convolution: a matrix for each position of a tile.
pub struct Winograd {
    positions: Vec<PackedMatrix>,
    depth: Depth,
    kind: Kind,
    inputs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    F2,
    F4,
}

/// The fastest method for a 3x3 convolution that keeps the size.
pub fn method(products: Products, inputs: usize, outputs: usize) -> Method {
    let least = inputs.min(outputs);
    match products {
        Products::F32 if least >= 16 => Method::Winograd4,
        Products::Bf16 if least >= 64 => Method::Winograd2,
        _ => Method::Direct,
    }
}

impl Winograd {
    /// Transforms and packs `weight` (outputs, inputs, 3, 3).
    pub fn new(products: Products, method: Method, weight: &[f32], inputs: usize, outputs: usize) -> Self {
        let kind = if method == Method::Winograd4 { Kind::F4 } else { Kind::F2 };
        let positions = match kind {
            Kind::F2 => Self::pack::<F2, 2, 4>(products, weight, inputs, outputs),
            Kind::F4 => Self::pack::<F4, 4, 6>(products, weight, inputs, outputs),
        };
        let depth = Depth::new(products, &[inputs]);
        Self { positions, depth, kind, inputs }
    }

    fn pack<T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
        products: Products,
        weight: &[f32],
        inputs: usize,
        outputs: usize,
    ) -> Vec<PackedMatrix> {
        // G's columns; an element of G g G^T is the sum of g's elements, each with a product of two of G's.
        let columns = [T::weight([1.0, 0.0, 0.0]), T::weight([0.0, 1.0, 0.0]), T::weight([0.0, 0.0, 1.0])];
        let pack = |position: usize| {
            let factors: [f64; 9] =
                std::array::from_fn(|tap| columns[tap / 3][position / IN] * columns[tap % 3][position % IN]);
            PackedMatrix::pack(products, outputs, &[inputs], |output, _, input| {
                let kernel = &weight[(output * inputs + input) * 9..][..9];
                kernel.iter().zip(&factors).map(|(g, factor)| f64::from(*g) * factor).sum::<f64>() as f32
            })
        };
        (0..IN * IN).map(pack).collect()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.positions.iter().map(PackedMatrix::bytes).sum()
    }

    /// Convolves `batch` images.
    ///
    /// # Safety
    /// `image` has `batch` images of the weights' inputs in f32, `finish` as many pixels of their outputs.
    pub unsafe fn forward(&self, image: &Image, batch: usize, finish: &Finish<'_>) {
        // SAFETY: by the caller's promise.
        unsafe {
            match self.kind {
                Kind::F2 => self.run::<F2, 2, 4>(image, batch, finish, 64),
                Kind::F4 => self.run::<F4, 4, 6>(image, batch, finish, 32),
            }
        }
    }

    unsafe fn run<T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
        &self,
        image: &Image,
        batch: usize,
        finish: &Finish<'_>,
        block: usize,
    ) {
        let (height, width) = image.seen;
        let grid = Grid { rows: height.div_ceil(OUT), columns: width.div_ceil(OUT), size: OUT };
        let tiles = batch * grid.rows * grid.columns;
        if tiles == 0 {
            return;
        }
        let (blocks, panels) = (tiles.div_ceil(block), self.positions[0].panels());
        let groups = if 2 * blocks >= TASKS { 1 } else { TASKS.div_ceil(blocks).min(panels) };
        let in_group = panels.div_ceil(groups);
        let tasks: Vec<_> =
            (0..blocks).flat_map(|index| (0..panels).step_by(in_group).map(move |panel| (index, panel))).collect();
        tasks.into_par_iter().for_each(|(index, panel)| {
            let tiles = index * block..tiles.min((index + 1) * block);
            let panels = panel..panels.min(panel + in_group);
            // SAFETY: by the caller's promise; each task has its own pixels and columns.
            unsafe { self.block::<T, OUT, IN>(image, &grid, tiles, panels, finish) };
        });
    }

    /// Convolves some tiles to some panels of outputs.
    unsafe fn block<T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
        &self,
        image: &Image,
        grid: &Grid,
        tiles: Range<usize>,
        panels: Range<usize>,
        finish: &Finish<'_>,
    ) {
        let set = InstructionSet::best();
        let products = self.positions[0].products();
        let rows = tiles.len().next_multiple_of(TILE_ROWS);
        // Whole vectors are stored, so each row has room for them.
        let stride = products.steps(self.inputs.next_multiple_of(16));
        with_scratch(|[left, sums]| {
            left.reserve(IN * IN * rows * stride);
            sums.reserve(IN * IN * rows * PANEL + OUT * OUT * PANEL);
            let data = left.as_mut_ptr::<f32>();
            for (row, tile) in tiles.clone().enumerate() {
                let (index, y, x) = grid.corner(tile);
                let pixels: [*const f32; 36] = std::array::from_fn(|position| {
                    let (dy, dx) = (position / IN, position % IN);
                    // Beyond the tile's own positions there is nothing to look up.
                    let y = if dy < IN { (y + dy) as isize - 1 } else { -1 };
                    image.at(index, y, (x + dx) as isize - 1)
                });
                // SAFETY: the pixels have as many numbers as there are inputs; the buffer has room for all rows.
                unsafe {
                    let to = Rows { data: data.add(row * stride), stride: rows * stride, products };
                    T::transform_input(set, &pixels[..IN * IN], self.inputs, to);
                }
            }
            let mut table = Vec::new();
            for position in 0..IN * IN {
                for tile in (0..rows).step_by(TILE_ROWS) {
                    for (_, first, _) in &self.depth.parts {
                        let skip = first / products.per_step();
                        let row = |index: usize| position * rows + (tile + index).min(tiles.len() - 1);
                        // SAFETY: inside what was just filled.
                        table.extend((0..TILE_ROWS).map(|index| unsafe { data.add(row(index) * stride + skip).cast_const() }));
                    }
                }
            }
            let of_position = table.len() / (IN * IN);
            let out = sums.as_mut_ptr::<f32>();
            // SAFETY: behind the sums there is room for one finished tile.
            let finished = unsafe { out.add(IN * IN * rows * PANEL) };
            for panel in panels {
                let (width, first) = (self.positions[0].width(panel), panel * PANEL);
                let columns = first..first + self.positions[0].valid(panel);
                for (position, matrix) in self.positions.iter().enumerate() {
                    let rows_of_position = &table[position * of_position..(position + 1) * of_position];
                    // SAFETY: the table's pointers are good for the depth, the sums for all positions and rows.
                    unsafe {
                        let out = out.add(position * rows * width);
                        multiply_panel(set, matrix, &self.depth, panel, rows_of_position, out);
                    }
                }
                for (row, tile) in tiles.clone().enumerate() {
                    let (index, y, x) = grid.corner(tile);
                    // SAFETY: the sums of the tile have just been computed.
                    unsafe { T::transform_output(set, out.add(row * width), rows * width, width, finished) };
                    let (height, image_width) = image.seen;
                    for dy in 0..OUT.min(height - y) {
                        for dx in 0..OUT.min(image_width - x) {
                            let pixel = (index * height + y + dy) * image_width + x + dx;
                            // SAFETY: a pixel of this task, and its finished sums.
                            unsafe {
                                let sums = finished.add((dy * OUT + dx) * width).cast_const();
                                let sums = std::slice::from_raw_parts(sums, columns.len());
                                finish.pixel(index, pixel, columns.clone(), sums);
                            }
                        }
                    }
                }
            }
        });
    }
}

/// Tiles over the images of a batch.
struct Grid {
    rows: usize,
    columns: usize,
    size: usize,
}

impl Grid {
    /// The image that a tile is in, and the y and x of its first output.
    fn corner(&self, tile: usize) -> (usize, usize, usize) {
        let (image, row) = (tile / (self.rows * self.columns), tile / self.columns % self.rows);
        (image, row * self.size, tile % self.columns * self.size)
    }
}
