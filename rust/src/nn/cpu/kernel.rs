//! The innermost product: a tile of the output, held in registers over the whole depth.
//!
//! A tile is [`TILE_ROWS`] rows of the left matrix by one panel of the right one (Goto and van de Geijn 2008). The left
//! rows are found through pointers, so that a convolution reads its input where it lies (Dukhan 2019, "The Indirect
//! Convolution Algorithm"). Both sides are read in steps of four bytes: one f32, or two bf16 whose products are added.

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};
use crate::instruction_set::InstructionSet;

/// Rows of a tile.
pub const TILE_ROWS: usize = 8;
/// Columns of a panel; the last panel of a matrix may be narrower.
pub const PANEL: usize = 48;
/// Panels are multiples of this.
pub const PANEL_UNIT: usize = 16;

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// f32 times f32.
    F32,
    /// bf16 times bf16, summed in f32.
    Bf16,
}

impl Products {
    /// Numbers in a step of four bytes.
    pub fn per_step(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// Steps that `depth` numbers take.
    pub fn steps(self, depth: usize) -> usize {
        depth.div_ceil(self.per_step())
    }
}

/// Computes one tile: the sum over all segments of rows times panel.
///
/// `rows` has [`TILE_ROWS`] pointers a segment, each to as many steps as `depths` says for that segment; `panel` has the
/// steps of all segments one after the other, each as wide as the panel. The result is written to `out`, whose rows
/// begin `stride` apart, or added to what is there.
///
/// # Safety
/// All pointers are good for what was just said, and the machine has the instructions that the kernel was chosen for.
pub type TileKernel = unsafe fn(
    rows: *const *const f32,
    depths: &[usize],
    panel: *const f32,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
);

struct Operands<'a> {
    rows: *const *const f32,
    depths: &'a [usize],
    panel: *const f32,
    width: usize,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
}

/// `ROWS` rows from `row` on by `VECS` vectors from column `column` on.
#[inline(always)]
unsafe fn block<V: Simd, const BF16: bool, const ROWS: usize, const VECS: usize>(
    operands: &Operands<'_>,
    row: usize,
    column: usize,
) {
    // SAFETY: by the promise of a `TileKernel`'s caller.
    unsafe {
        let mut sums = [[V::splat(0.0); VECS]; ROWS];
        let mut panel = operands.panel.add(column);
        for (segment, depth) in operands.depths.iter().enumerate() {
            let rows: [*const f32; ROWS] = std::array::from_fn(|i| *operands.rows.add(segment * TILE_ROWS + row + i));
            for step in 0..*depth {
                let columns: [V; VECS] = std::array::from_fn(|j| V::load(panel.add(j * V::LANES)));
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let left = V::splat(row.add(step).read_unaligned());
                    for (sum, right) in sums.iter_mut().zip(&columns) {
                        *sum = if BF16 { sum.dot_bf16(left, *right) } else { left.mul_add(*right, *sum) };
                    }
                }
                panel = panel.add(operands.width);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let out = operands.out.add((row + i) * operands.stride + column + j * V::LANES);
                if operands.accumulate { sum.add(V::load(out)).store(out) } else { sum.store(out) }
            }
        }
    }
}

/// A whole tile of `WIDTH` columns in blocks of `ROWS` by `VECS` vectors, as many as the registers hold.
#[inline(always)]
unsafe fn tile<V: Simd, const BF16: bool, const ROWS: usize, const VECS: usize, const WIDTH: usize>(
    rows: *const *const f32,
    depths: &[usize],
    panel: *const f32,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    const { assert!(TILE_ROWS.is_multiple_of(ROWS) && WIDTH.is_multiple_of(VECS * V::LANES)) };
    let operands = Operands { rows, depths, panel, width: WIDTH, out, stride, accumulate };
    for column in (0..WIDTH).step_by(VECS * V::LANES) {
        for row in (0..TILE_ROWS).step_by(ROWS) {
            // SAFETY: by the caller's promise.
            unsafe { block::<V, BF16, ROWS, VECS>(&operands, row, column) };
        }
    }
}

macro_rules! kernels {
    ($name:ident: $vector:ty, $bf16:literal, $features:literal, rows $rows:literal, vectors $wide:literal $middle:literal $narrow:literal) => {
        fn $name(width: usize) -> TileKernel {
            macro_rules! kernel {
                ($vectors:literal, $width:literal) => {{
                    #[cfg_attr(target_arch = "x86_64", target_feature(enable = $features))]
                    unsafe fn kernel(
                        rows: *const *const f32,
                        depths: &[usize],
                        panel: *const f32,
                        out: *mut f32,
                        stride: usize,
                        accumulate: bool,
                    ) {
                        // SAFETY: by the caller's promise.
                        unsafe {
                            tile::<$vector, $bf16, $rows, $vectors, $width>(
                                rows, depths, panel, out, stride, accumulate,
                            );
                        }
                    }
                    kernel
                }};
            }
            match width {
                PANEL => kernel!($wide, 48),
                32 => kernel!($middle, 32),
                _ => kernel!($narrow, 16),
            }
        }
    };
}

kernels!(portable_f32: Portable, false, "sse2", rows 4, vectors 2 2 2);
kernels!(portable_bf16: Portable, true, "sse2", rows 4, vectors 2 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2_f32: Avx2, false, "avx2,fma", rows 4, vectors 3 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2_bf16: Avx2, true, "avx2,fma", rows 4, vectors 2 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_f32: Avx512, false, "avx512f,avx512vl,avx512dq,avx512bw", rows 8, vectors 3 2 1);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_bf16: Avx512, true, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16", rows 8, vectors 3 2 1);

/// The kernel for a panel of `width` columns: 16, 32 or [`PANEL`].
pub fn tile_kernel(set: InstructionSet, products: Products, width: usize) -> TileKernel {
    #[cfg(target_arch = "x86_64")]
    match products {
        Products::F32 if set.is_avx512() => return avx512_f32(width),
        Products::Bf16 if set.has_bf16() => return avx512_bf16(width),
        Products::F32 if set.is_avx2() => return avx2_f32(width),
        Products::Bf16 if set.is_avx512() || set.is_avx2() => return avx2_bf16(width),
        _ => (),
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = set;
    match products {
        Products::F32 => portable_f32(width),
        Products::Bf16 => portable_bf16(width),
    }
}
