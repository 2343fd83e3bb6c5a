//! Blocks of a product: rows found through pointers times a packed matrix, panel by panel.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::AlignedBuffer;
use super::dispatch::{multiversion, vectorised};
use super::kernel::{PANEL, Products, TILE_ROWS, TileKernel, tile_kernel};
use super::packed::{MAX_SEGMENT, PackedMatrix, parts};
use crate::instruction_set::InstructionSet;

/// Rows of a block: enough for a panel to be read often while it is in the cache.
pub const BLOCK_ROWS: usize = 128;
/// Tasks for each thread, so that none waits long for the last one.
const TASKS: usize = 4;

thread_local! {
    static SCRATCH: RefCell<[AlignedBuffer; 2]> = RefCell::default();
}

/// Lends this thread's buffers, which keep their memory from call to call.
///
/// The work must not wait for other tasks: one of them might be run on this thread meanwhile.
pub fn with_scratch<R>(work: impl FnOnce(&mut [AlignedBuffer; 2]) -> R) -> R {
    SCRATCH.with_borrow_mut(work)
}

/// Groups that a layer's panels are cut into where its `blocks` of rows alone do not keep all threads busy.
///
/// This may depend on the number of threads, since no sum is cut by it.
pub fn groups(blocks: usize, panels: usize) -> usize {
    let tasks = TASKS * rayon::current_num_threads();
    if 2 * blocks >= tasks { 1 } else { tasks.div_ceil(blocks).min(panels) }
}

/// The steps of a matrix's depth in the order in which they are multiplied.
pub struct Depth {
    /// (segment, first number, numbers) of each part that has pointers of its own.
    pub parts: Vec<(usize, usize, usize)>,
    /// Numbers in each segment.
    pub segments: Vec<usize>,
    steps: Vec<usize>,
    chunks: Vec<Range<usize>>,
}

impl Depth {
    /// A depth of `segments`, which need not be those that a matrix was packed with, as long as each begins where one of
    /// its steps does.
    pub fn new(products: Products, segments: &[usize]) -> Self {
        let parts = parts(products, segments);
        let steps: Vec<_> = parts.iter().map(|(_, _, numbers)| products.steps(*numbers)).collect();
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let mut held = 0;
        for (index, steps) in steps.iter().enumerate() {
            match chunks.last_mut() {
                Some(chunk) if held + steps <= MAX_SEGMENT => chunk.end = index + 1,
                _ => {
                    chunks.push(index..index + 1);
                    held = 0;
                }
            }
            held += steps;
        }
        Self { parts, segments: segments.to_vec(), steps, chunks }
    }

    /// Steps of all parts together.
    pub fn steps_in_all(&self) -> usize {
        self.steps.iter().sum()
    }

    /// Pointers that a tile of rows needs.
    pub fn pointers(&self) -> usize {
        self.parts.len() * TILE_ROWS
    }
}

/// Multiplies rows by one panel.
///
/// `rows` has [`Depth::pointers`] entries a tile: [`TILE_ROWS`] for each part. The result, as wide as the panel, goes to
/// `out`, tile after tile.
///
/// # Safety
/// Each pointer is good for its part's steps; `out` for as many rows as there are tiles of them.
pub unsafe fn multiply_panel(
    set: InstructionSet,
    matrix: &PackedMatrix,
    depth: &Depth,
    panel: usize,
    rows: &[*const f32],
    out: *mut f32,
) {
    let width = matrix.width(panel);
    let kernel: TileKernel = tile_kernel(set, matrix.products(), width);
    let mut step = 0;
    for chunk in &depth.chunks {
        let steps = &depth.steps[chunk.clone()];
        let data = matrix.panel(panel, step);
        for (tile, rows) in rows.chunks_exact(depth.pointers()).enumerate() {
            let rows = &rows[chunk.start * TILE_ROWS..];
            // SAFETY: by the caller's promise; the panel holds all steps of the matrix's depth.
            unsafe {
                kernel(rows.as_ptr(), steps, data, out.add(tile * TILE_ROWS * width), width, chunk.start > 0);
            }
        }
        step += steps.iter().sum::<usize>();
    }
}

multiversion! {
    /// `out = sums + bias`, and `+ residual` where there is one.
    pub fn finish_row(sums: &[f32], bias: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        match residual {
            None => {
                for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                    *out = sum + bias;
                }
            }
            Some(residual) => {
                for (((out, sum), bias), residual) in out.iter_mut().zip(sums).zip(bias).zip(residual) {
                    *out = sum + bias + residual;
                }
            }
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

/// Where the rows of the left matrix come from.
pub trait RowSource: Sync {
    /// Appends the pointers of the rows `rows`, tile by tile as [`multiply_panel`] reads them, to `table`.
    ///
    /// The pointers may lead into `scratch`. A tile that the rows do not fill repeats its last row.
    fn gather(&self, rows: Range<usize>, depth: &Depth, scratch: &mut AlignedBuffer, table: &mut Vec<*const f32>);
}

/// Calls `pointer(row, part)` in the order of a table for the rows `rows`.
pub fn tabulate(
    rows: Range<usize>,
    depth: &Depth,
    table: &mut Vec<*const f32>,
    mut pointer: impl FnMut(usize, usize) -> *const f32,
) {
    for tile in rows.clone().step_by(TILE_ROWS) {
        for part in 0..depth.parts.len() {
            table.extend((tile..tile + TILE_ROWS).map(|row| pointer(row.min(rows.end - 1), part)));
        }
    }
}

/// The sums of one block: `rows` of the left matrix by one panel of each right one.
pub struct Sums<'a, const N: usize> {
    /// Rows of the left matrix.
    pub rows: Range<usize>,
    /// Columns of the right matrices.
    pub columns: Range<usize>,
    width: usize,
    data: [&'a [f32]; N],
}

impl<const N: usize> Sums<'_, N> {
    /// The rows, each with its number and the sums of its columns by each matrix.
    pub fn rows(&self) -> impl Iterator<Item = (usize, [&[f32]; N])> {
        let of_row =
            |index: usize| self.data.map(|data| &data[index * self.width..index * self.width + self.columns.len()]);
        self.rows.clone().enumerate().map(move |(index, row)| (row, of_row(index)))
    }
}

/// Multiplies `rows` rows of `source` by matrices of one shape, over all of their depth, on all threads, and hands each block of sums to `finish`.
///
/// # Safety
/// The source's pointers are good for the steps of their parts, and `depth` has as many steps as the matrices.
pub unsafe fn multiply<const N: usize>(
    set: InstructionSet,
    matrices: [&PackedMatrix; N],
    depth: &Depth,
    rows: usize,
    source: &impl RowSource,
    finish: impl Fn(Sums<'_, N>) + Sync,
) {
    let Some(first) = matrices.first().filter(|matrix| rows > 0 && matrix.columns() > 0) else { return };
    let panels = first.panels();
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let in_group = panels.div_ceil(groups(blocks, panels));
    let tasks: Vec<_> =
        (0..blocks).flat_map(|block| (0..panels).step_by(in_group).map(move |panel| (block, panel))).collect();
    tasks.into_par_iter().for_each(|(block, panel)| {
        let rows = block * BLOCK_ROWS..rows.min((block + 1) * BLOCK_ROWS);
        let room = rows.len().next_multiple_of(TILE_ROWS) * PANEL;
        with_scratch(|[left, sums]| {
            let mut table = Vec::new();
            source.gather(rows.clone(), depth, left, &mut table);
            sums.reserve(N * room);
            for panel in panel..panels.min(panel + in_group) {
                let width = first.width(panel);
                let data = std::array::from_fn(|index| {
                    // SAFETY: each matrix has its own part of the buffer, which was just made large enough; the rest
                    // is the caller's promise.
                    unsafe {
                        let out = sums.as_mut_ptr::<f32>().add(index * room);
                        multiply_panel(set, matrices[index], depth, panel, &table, out);
                        std::slice::from_raw_parts(out.cast_const(), rows.len() * width)
                    }
                });
                let columns = panel * PANEL..panel * PANEL + first.valid(panel);
                finish(Sums { rows: rows.clone(), columns, width, data });
            }
        });
    });
}

/// Rows of f32 that lie one behind the other, in one matrix a segment of the depth.
pub struct DenseRows<'a> {
    /// What is multiplied.
    pub products: Products,
    /// Each segment's values, rows of the segment's depth.
    pub segments: &'a [&'a [f32]],
}

impl RowSource for DenseRows<'_> {
    fn gather(&self, rows: Range<usize>, depth: &Depth, scratch: &mut AlignedBuffer, table: &mut Vec<*const f32>) {
        let set = InstructionSet::best();
        let depth_of = |segment: usize| depth.segments[segment];
        if self.products == Products::F32 {
            let pointer = |row: usize, part: usize| {
                let (segment, first, _) = depth.parts[part];
                self.segments[segment][row * depth_of(segment) + first..].as_ptr()
            };
            tabulate(rows, depth, table, pointer);
            return;
        }
        let steps: Vec<_> = depth.segments.iter().map(|depth| self.products.steps(*depth)).collect();
        let starts: Vec<_> =
            steps.iter().scan(0, |start, steps| Some(std::mem::replace(start, *start + steps * rows.len()))).collect();
        scratch.reserve(steps.iter().sum::<usize>() * rows.len());
        for (segment, values) in self.segments.iter().enumerate() {
            for (index, row) in rows.clone().enumerate() {
                let values = &values[row * depth_of(segment)..(row + 1) * depth_of(segment)];
                // SAFETY: the scratch has room for all rows of all segments, each rounded up to whole steps.
                unsafe {
                    let to = scratch.as_mut_ptr::<u32>().add(starts[segment] + index * steps[segment]);
                    round_to_bf16(set, values.as_ptr(), values.len(), to.cast());
                }
            }
        }
        let scratch = scratch.as_ptr::<f32>();
        let first_row = rows.start;
        tabulate(rows, depth, table, |row, part| {
            let (segment, first, _) = depth.parts[part];
            let offset = starts[segment] + (row - first_row) * steps[segment] + first / self.products.per_step();
            // SAFETY: inside what was just filled.
            unsafe { scratch.add(offset) }
        });
    }
}
