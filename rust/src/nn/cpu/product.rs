//! Blocks of a product: rows found through pointers times a packed matrix, panel by panel.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{AlignedBuffer, Shared};
use super::depth::{Depth, Piece, with_next};
use super::dispatch::multiversion;
use super::kernel::{Ahead, LINE, PANEL, TILE_ROWS, Tile, prefetch_line, tile_kernel};
use super::packed::PackedMatrix;
use crate::instruction_set::InstructionSet;

/// Rows of a block: enough for a panel to be read often while it is in the cache.
pub const BLOCK_ROWS: usize = 128;
/// Panels that are multiplied by one part of a block's depth before the next part is: that of the block is then read from
/// the second-level cache where all of it does not fit.
const PANELS_AT_ONCE: usize = 4;
/// Most tasks for each thread.
const TASKS: usize = 8;
/// What finding a block's rows takes, in quarters of a panel's time.
const GATHERING: usize = 1;

thread_local! {
    static SCRATCH: RefCell<[AlignedBuffer; 2]> = RefCell::default();
}

/// Lends this thread's buffers, which keep their memory from call to call.
///
/// The work must not wait for other tasks: one of them might be run on this thread meanwhile.
pub fn with_scratch<R>(work: impl FnOnce(&mut [AlignedBuffer; 2]) -> R) -> R {
    SCRATCH.with_borrow_mut(work)
}

/// Groups that a layer's panels are cut into, so that `blocks` of rows times groups keep all threads busy to the end.
///
/// A task's own preparation takes as long as `preparation` quarters of a panel. This may depend on the number of threads,
/// since no sum is cut by it.
pub fn groups(blocks: usize, panels: usize, preparation: usize) -> usize {
    let threads = rayon::current_num_threads();
    let time = |groups: &usize| {
        let of_task = 4 * panels.div_ceil(*groups) + preparation;
        (blocks * groups).div_ceil(threads) * of_task
    };
    let most = (TASKS * threads).div_ceil(blocks.max(1)).min(panels);
    (1..=most).min_by_key(time).unwrap_or(1)
}

/// Multiplies rows by one piece of a panel, and asks for what lies in `next` meanwhile.
///
/// `rows` has [`Depth::pointers`] entries a tile: [`TILE_ROWS`] for each part. The result, as wide as the panel, goes to
/// `out`, tile after tile; pieces of later chunks are added to what is there. `before` and `after` are called with the number
/// of each tile.
///
/// # Safety
/// Each pointer is good for its part's steps; `out` for as many rows as there are tiles of them.
#[inline(always)]
pub unsafe fn multiply_piece(
    set: InstructionSet,
    depth: &Depth,
    (piece, next): (Piece<'_>, &[f32]),
    rows: &[*const f32],
    out: *mut f32,
    before: impl Fn(usize),
    after: impl Fn(usize),
) {
    let (width, parts) = (piece.matrix.width(piece.panel), &depth.chunks[piece.chunk]);
    let kernel = tile_kernel(set, piece.matrix.products(), width);
    let (data, steps) = (piece.data(depth), &depth.steps[parts.clone()]);
    assert_eq!(data.len(), steps.iter().sum::<usize>() * width, "a depth that is not the matrix's");
    let asked_by_tile = next.len() / (rows.len() / depth.pointers());
    let ahead = Ahead::new(next.as_ptr(), asked_by_tile, steps.iter().sum());
    for (tile, rows) in rows.chunks_exact(depth.pointers()).enumerate() {
        before(tile);
        // SAFETY: by the caller's promise; the panel holds all steps of the piece.
        unsafe {
            kernel(&Tile {
                rows: rows[parts.start * TILE_ROWS..].as_ptr(),
                depths: steps,
                panel: data.as_ptr(),
                out: out.add(tile * TILE_ROWS * width),
                stride: width,
                accumulate: parts.start > 0,
                ahead: ahead.skip(tile * asked_by_tile),
            });
        }
        after(tile);
    }
}

/// Asks for what one chunk reads of the rows of a tile; of none where there is no such tile.
fn prefetch_rows(depth: &Depth, chunk: usize, table: &[*const f32], tile: usize) {
    let Some(rows) = table.get(tile * depth.pointers()..(tile + 1) * depth.pointers()) else { return };
    for part in depth.chunks[chunk].clone() {
        for row in &rows[part * TILE_ROWS..(part + 1) * TILE_ROWS] {
            for number in (0..depth.steps[part]).step_by(LINE) {
                prefetch_line(row.wrapping_add(number));
            }
        }
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

/// Where the rows of the left matrix come from.
pub trait RowSource: Sync {
    /// Appends the pointers of the rows `rows`, tile by tile as [`multiply_piece`] reads them, to `table`.
    ///
    /// The pointers may lead into `scratch`. A tile that the rows do not fill repeats its last row. Where rows are
    /// quantised, what each is to be multiplied by is returned, else nothing.
    fn gather(
        &self,
        rows: Range<usize>,
        depth: &Depth,
        scratch: &mut AlignedBuffer,
        table: &mut Vec<*const f32>,
    ) -> Vec<f32>;

    /// Whether the pointers lead to where the rows have been since before the call, and no two rows share anything.
    fn is_in_place(&self) -> bool {
        false
    }
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

/// The sums of one tile: some rows of the left matrix by one panel of each right one.
pub struct Sums<'a, const N: usize> {
    /// Rows of the left matrix.
    pub rows: Range<usize>,
    /// Columns of the right matrices.
    pub columns: Range<usize>,
    width: usize,
    scales: &'a [f32],
    data: [&'a [f32]; N],
}

impl<const N: usize> Sums<'_, N> {
    /// The rows, each with its number, what its quantised numbers are to be multiplied by, and the sums of its columns by
    /// each matrix.
    pub fn rows(&self) -> impl Iterator<Item = (usize, f32, [&[f32]; N])> {
        let of_row =
            |index: usize| self.data.map(|data| &data[index * self.width..index * self.width + self.columns.len()]);
        let scale = |index: usize| self.scales.get(index).copied().unwrap_or(1.0);
        self.rows.clone().enumerate().map(move |(index, row)| (row, scale(index), of_row(index)))
    }
}

/// The matrix that a product is written to, by whoever finishes its sums.
#[derive(Clone, Copy)]
pub struct Destination {
    /// The first row.
    pub rows: Shared<f32>,
    /// From row to row; no less than there are columns.
    pub stride: usize,
}

impl Destination {
    /// Asks for what some rows' columns lie in, to be written soon: lines come from memory before they are written.
    fn expect(self, rows: Range<usize>, columns: Range<usize>) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        for row in rows {
            for column in columns.clone().step_by(LINE) {
                // SAFETY: a hint, which does nothing where there is no such instruction.
                unsafe {
                    let line = self.rows.at(row * self.stride + column);
                    #[cfg(target_arch = "x86_64")]
                    std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
                    #[cfg(target_arch = "aarch64")]
                    std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
                }
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (rows, columns);
    }
}

/// Multiplies `rows` rows of `source` by matrices of one shape, over all of their depth, on all threads, and hands each tile
/// of sums to `finish`, which writes to `destination`.
///
/// # Safety
/// The source's pointers are good for the steps of their parts, `depth` has as many steps as the matrices, and the
/// destination has room for all rows and columns.
pub unsafe fn multiply<const N: usize>(
    set: InstructionSet,
    matrices: [&PackedMatrix; N],
    depth: &Depth,
    rows: usize,
    source: &impl RowSource,
    destination: Destination,
    finish: impl Fn(Sums<'_, N>) + Sync,
) {
    let Some(first) = matrices.first().filter(|matrix| rows > 0 && matrix.columns() > 0) else { return };
    let panels = first.panels();
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let in_group = panels.div_ceil(groups(blocks, panels, GATHERING));
    let at_once = if depth.chunks.len() > 1 { PANELS_AT_ONCE } else { 1 };
    let tasks: Vec<_> =
        (0..blocks).flat_map(|block| (0..panels).step_by(in_group).map(move |panel| (block, panel))).collect();
    tasks.into_par_iter().for_each(|(block, panel)| {
        let rows = block * BLOCK_ROWS..rows.min((block + 1) * BLOCK_ROWS);
        let room = rows.len().next_multiple_of(TILE_ROWS) * PANEL;
        let of_group = panel..panels.min(panel + in_group);
        with_scratch(|[left, sums]| {
            let mut table = Vec::new();
            let scales = source.gather(rows.clone(), depth, left, &mut table);
            sums.reserve(N * at_once * room);
            let (sums, is_in_place) = (sums.as_mut_ptr::<f32>(), source.is_in_place());
            let of_tile =
                |tile: usize| rows.start + tile * TILE_ROWS..rows.end.min(rows.start + (tile + 1) * TILE_ROWS);
            let of_panel = |panel: usize, index: usize| {
                // SAFETY: each matrix and panel has its own part of the buffer, which was just made large enough.
                unsafe { sums.add(((panel - of_group.start) % at_once * N + index) * room) }
            };
            let pieces = of_group.clone().step_by(at_once).flat_map(|panel| {
                let together = panel..of_group.end.min(panel + at_once);
                let of_chunk = move |chunk| {
                    together
                        .clone()
                        .flat_map(move |panel| matrices.into_iter().map(move |matrix| Piece { matrix, panel, chunk }))
                };
                (0..depth.chunks.len()).flat_map(of_chunk)
            });
            with_next(depth, pieces, |number, piece, next| {
                let (Piece { panel, chunk, .. }, index) = (piece, number % N);
                let (columns, width) = (panel * PANEL..panel * PANEL + first.valid(panel), first.width(panel));
                let is_last = chunk + 1 == depth.chunks.len() && index + 1 == N;
                let before = |tile| {
                    if is_in_place && panel == of_group.start && index == 0 {
                        prefetch_rows(depth, chunk, &table, tile + 1);
                    }
                    if is_last {
                        destination.expect(of_tile(tile), columns.clone());
                    }
                };
                let after = |tile: usize| {
                    if is_last {
                        let rows = of_tile(tile);
                        let scales = scales.get(tile * TILE_ROWS..).unwrap_or_default();
                        // SAFETY: the tile's sums have been computed.
                        let data = std::array::from_fn(|index| unsafe {
                            let from = of_panel(panel, index).add(tile * TILE_ROWS * width);
                            std::slice::from_raw_parts(from.cast_const(), rows.len() * width)
                        });
                        finish(Sums { rows, columns: columns.clone(), width, scales, data });
                    }
                };
                // SAFETY: by the caller's promise.
                unsafe {
                    multiply_piece(set, depth, (piece, next), &table, of_panel(panel, index), before, after);
                }
            });
        });
    });
}
