//! 3x3 convolutions by Winograd's minimal filtering (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural
//! Networks"): the input in overlapping tiles, transformed, multiplied position by position, transformed back.
//!
//! Transforms are computed in f32 whatever is multiplied. Relative RMS error of one convolution of 256 channels of
//! uniform noise: F(2x2) in f32 5e-7, F(4x4) 1.3e-6; with products in bf16, F(2x2) 0.41 % against 0.23 % without Winograd.

mod transforms;

use std::ops::Range;

use rayon::prelude::*;

use super::conv2d::{Finish, Image, Method};
use super::depth::{Depth, Piece, with_next};
use super::kernel::{PANEL, Products, TILE_ROWS};
use super::packed::PackedMatrix;
use super::product::{groups, multiply_piece, with_scratch};
use super::simd::to_bf16;
use crate::instruction_set::InstructionSet;
use transforms::{F2, F4, Outputs, Rows, Transform};

/// Pairs of an input and an output whose transformed weights are small whatever the method.
const SMALL: usize = 1 << 18;
/// Bytes that the transformed tiles of a block may take: most of a core's second-level cache.
const BLOCK_BYTES: usize = 768 << 10;
/// Numbers between the rows of one position and those of the next: a cache line, without which all positions of a tile
/// would fall into the same sets of the cache.
const APART: usize = 16;
/// Fewest tiles of a block, so that each panel is read for enough of them.
const MIN_TILES: usize = 32;
/// What transforming a block's tiles takes, in quarters of a panel's time.
const TRANSFORMING: usize = 4;
/// Most tiles of a block, so that its sums stay in the cache.
const MAX_TILES: usize = 64;

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

/// The method for a 3x3 convolution that keeps the size, with `kernels` pairs of an input and an output, for maps of
/// `side` pixels.
///
/// Transformed weights are 1.8 or 4 times as large. The fewer pixels they are multiplied by, the more of the network's
/// memory that is, and the less of its time they save: there it is not worth it.
pub fn method(products: Products, kernels: usize, side: Option<usize>) -> Method {
    let side = side.unwrap_or(usize::MAX);
    match products {
        Products::F32 if kernels <= SMALL || side >= 32 => Method::Winograd4,
        Products::F32 if side >= 16 => Method::Winograd2,
        Products::Bf16 if kernels <= SMALL || side >= 16 => Method::Winograd2,
        _ => Method::Direct,
    }
}

/// G g G^T of one input and the outputs of a panel, position by position; zeros where `kernel` has none.
#[expect(clippy::needless_range_loop, reason = "rows and columns change places")]
fn transform_weights<'a, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    kernel: impl Fn(usize) -> Option<&'a [f32]>,
) -> Vec<[f32; PANEL]> {
    let mut result = vec![[0f32; PANEL]; IN * IN];
    for column in 0..PANEL {
        let Some(kernel) = kernel(column) else { break };
        let at = |y: usize, x: usize| f64::from(kernel[3 * y + x]);
        let columns: [[f64; IN]; 3] = std::array::from_fn(|x| T::weight([at(0, x), at(1, x), at(2, x)]));
        for y in 0..IN {
            let row = T::weight([columns[0][y], columns[1][y], columns[2][y]]);
            for (x, value) in row.into_iter().enumerate() {
                result[y * IN + x][column] = value as f32;
            }
        }
    }
    result
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
        let mut positions: Vec<_> =
            (0..IN * IN).map(|_| PackedMatrix::unfilled(products, outputs, &[inputs])).collect();
        let writers: Vec<_> = positions.iter_mut().map(PackedMatrix::writer).collect();
        let panels = positions[0].panels();
        (0..panels).into_par_iter().for_each(|panel| {
            let valid = positions[0].valid(panel);
            for first in (0..inputs).step_by(products.per_step()) {
                let numbers = products.per_step().min(inputs - first);
                let transformed: [_; 2] = std::array::from_fn(|index| {
                    let kernel = |column: usize| {
                        let output = panel * PANEL + column;
                        (index < numbers && column < valid)
                            .then(|| &weight[(output * inputs + first + index) * 9..][..9])
                    };
                    transform_weights::<T, OUT, IN>(kernel)
                });
                for (position, writer) in writers.iter().enumerate() {
                    // SAFETY: each task writes its own panel.
                    let step = unsafe { writer.step(panel, first / products.per_step()) };
                    let values = transformed[0][position].iter().zip(&transformed[1][position]);
                    for (to, (even, odd)) in step.iter_mut().zip(values) {
                        *to = match products {
                            Products::F32 => even.to_bits(),
                            Products::Bf16 | Products::Int8 => {
                                u32::from(to_bf16(*even)) | u32::from(to_bf16(*odd)) << 16
                            }
                        };
                    }
                }
            }
        });
        positions
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
                Kind::F2 => self.run::<F2, 2, 4>(image, batch, finish),
                Kind::F4 => self.run::<F4, 4, 6>(image, batch, finish),
            }
        }
    }

    unsafe fn run<T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
        &self,
        image: &Image,
        batch: usize,
        finish: &Finish<'_>,
    ) {
        let of_tile = IN * IN * self.depth.steps_in_all() * size_of::<f32>();
        let block = (BLOCK_BYTES / of_tile / TILE_ROWS * TILE_ROWS).clamp(MIN_TILES, MAX_TILES);
        let (height, width) = image.seen;
        let grid = Grid { rows: height.div_ceil(OUT), columns: width.div_ceil(OUT), size: OUT };
        let tiles = batch * grid.rows * grid.columns;
        if tiles == 0 {
            return;
        }
        let (blocks, panels) = (tiles.div_ceil(block), self.positions[0].panels());
        let groups = groups(blocks, panels, TRANSFORMING);
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
            let (of_left, of_sums) = (rows * stride + APART, rows * PANEL + APART);
            left.reserve(IN * IN * of_left);
            sums.reserve(IN * IN * of_sums);
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
                    let to = Rows { data: data.add(row * stride), stride: of_left, products };
                    T::transform_input(set, &pixels[..IN * IN], self.inputs, to);
                }
            }
            let mut table = Vec::new();
            for position in 0..IN * IN {
                for tile in (0..rows).step_by(TILE_ROWS) {
                    for (_, first, _) in &self.depth.parts {
                        let skip = first / products.per_step();
                        let row = |index: usize| position * of_left + (tile + index).min(tiles.len() - 1) * stride;
                        // SAFETY: inside what was just filled.
                        table.extend((0..TILE_ROWS).map(|index| unsafe { data.add(row(index) + skip).cast_const() }));
                    }
                }
            }
            let of_position = table.len() / (IN * IN);
            let out = sums.as_mut_ptr::<f32>();
            let pieces = panels.flat_map(|panel| {
                let of_position = move |matrix| self.depth.chunks().map(move |chunk| Piece { matrix, panel, chunk });
                self.positions.iter().flat_map(of_position)
            });
            let chunks = self.depth.chunks().len();
            with_next(&self.depth, pieces, |number, piece, next| {
                let position = number / chunks % (IN * IN);
                let rows_of_position = &table[position * of_position..(position + 1) * of_position];
                // SAFETY: the table's pointers are good for the depth, the sums for all positions and rows.
                unsafe {
                    let out = out.add(position * of_sums);
                    multiply_piece(set, &self.depth, (piece, next), rows_of_position, out, |_| (), |_| ());
                }
                if (number + 1) % (chunks * IN * IN) != 0 {
                    return;
                }
                let (width, first) = (self.positions[0].width(piece.panel), piece.panel * PANEL);
                let columns = first..first + self.positions[0].valid(piece.panel);
                for (row, tile) in tiles.clone().enumerate() {
                    // SAFETY: the sums of the tile have just been computed, the rest is the caller's promise.
                    unsafe {
                        let sums = Sums { data: out.add(row * width), stride: of_sums, width };
                        self.finish_tile::<T, OUT, IN>(image.seen, grid.corner(tile), columns.clone(), sums, finish);
                    }
                }
            });
        });
    }

    /// Transforms the sums of one tile and finishes its pixels: in place where all columns and pixels are the output's.
    unsafe fn finish_tile<T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
        &self,
        (height, width): (usize, usize),
        (index, y, x): (usize, usize, usize),
        columns: Range<usize>,
        sums: Sums,
        finish: &Finish<'_>,
    ) {
        let set = InstructionSet::best();
        let pixel = |output: usize| (index * height + y + output / OUT) * width + x + output % OUT;
        let inside = y + OUT <= height && x + OUT <= width && columns.len() == sums.width;
        // SAFETY: by the caller's promise; the last tile's own buffer holds all of its outputs.
        unsafe {
            if inside {
                let mut pixels = [std::ptr::null_mut(); 16];
                let mut residuals = [std::ptr::null(); 16];
                for output in 0..OUT * OUT {
                    (pixels[output], residuals[output]) = finish.place(pixel(output), columns.start);
                }
                let residuals: &[_] = if finish.has_residual() { &residuals[..OUT * OUT] } else { &[] };
                let bias = finish.bias(index, columns).as_ptr();
                let to = Outputs { pixels: &pixels[..OUT * OUT], residuals, bias };
                T::transform_output(set, sums.data, sums.stride, sums.width, to);
                return;
            }
            let (mut tile, zeros) = ([0f32; 16 * PANEL], [0f32; PANEL]);
            let pixels: [*mut f32; 16] = std::array::from_fn(|output| tile.as_mut_ptr().add(output * PANEL));
            let to = Outputs { pixels: &pixels[..OUT * OUT], residuals: &[], bias: zeros.as_ptr() };
            T::transform_output(set, sums.data, sums.stride, sums.width, to);
            for output in 0..OUT * OUT {
                if y + output / OUT < height && x + output % OUT < width {
                    let sums = &tile[output * PANEL..][..columns.len()];
                    finish.pixel(index, pixel(output), columns.clone(), sums);
                }
            }
        }
    }
}

/// The sums of one tile and one panel: `width` numbers for each position, `stride` apart.
#[derive(Clone, Copy)]
struct Sums {
    data: *const f32,
    stride: usize,
    width: usize,
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
