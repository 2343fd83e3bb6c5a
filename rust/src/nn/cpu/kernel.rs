//! The innermost product: a tile of the output, held in registers over the whole depth.
//!
//! A tile is [`TILE_ROWS`] rows of the left matrix by one panel of the right one (Goto and van de Geijn 2008). The left
//! rows are found through pointers, so that a convolution reads its input where it lies (Dukhan 2019, "The Indirect
//! Convolution Algorithm"). Both sides are read in steps of four bytes: one f32, two bf16 whose products are added,
//! or four bytes whose products are.

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
    /// u8 times i8, summed in i32: linear layers whose numbers are quantised. What is not quantised is multiplied as
    /// [`Products::of_floats`] says.
    Int8,
}

impl Products {
    /// Numbers in a step of four bytes.
    pub fn per_step(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// What is multiplied where nothing is quantised.
    #[must_use]
    pub fn of_floats(self) -> Self {
        match self {
            Self::Int8 if InstructionSet::best().has_bf16() => Self::Bf16,
            Self::Int8 => Self::F32,
            floats => floats,
        }
    }

    /// Steps that `depth` numbers take.
    pub fn steps(self, depth: usize) -> usize {
        depth.div_ceil(self.per_step())
    }
}

/// The kinds of products as parameters of a kernel.
const F32: u8 = 0;
const BF16: u8 = 1;
const INT8: u8 = 2;

/// Memory that is asked for while a tile is computed, bit by bit: all at once would be in the way of what is needed now.
#[derive(Clone, Copy)]
pub struct Ahead {
    from: *const f32,
    bytes: usize,
    of_step: usize,
}

/// Numbers in a cache line.
pub const LINE: usize = 16;

impl Ahead {
    /// Nothing.
    pub const NONE: Self = Self { from: std::ptr::null(), bytes: 0, of_step: 0 };

    /// `len` numbers from `from` on, over `steps` steps.
    pub fn new(from: *const f32, len: usize, steps: usize) -> Self {
        let bytes = len * size_of::<f32>();
        Self { from, bytes, of_step: bytes / steps.max(1) }
    }

    /// The same from `len` numbers further on.
    #[must_use]
    pub fn skip(self, len: usize) -> Self {
        Self { from: self.from.wrapping_add(len), ..self }
    }

    /// One of as many equal parts.
    #[inline(always)]
    fn part(self, index: usize, parts: usize) -> Self {
        let bytes = self.bytes / parts;
        Self { from: self.from.wrapping_byte_add(index * bytes), bytes, of_step: self.of_step / parts }
    }
}

/// Asks for a line to be brought to the second-level cache.
#[inline(always)]
pub fn prefetch_line(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which is good for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
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
    ahead: Ahead,
);

struct Operands<'a> {
    rows: *const *const f32,
    depths: &'a [usize],
    panel: *const f32,
    width: usize,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
    ahead: Ahead,
}

/// `ROWS` rows from `row` on by `VECS` vectors from column `column` on.
#[inline(always)]
unsafe fn block<V: Simd, const KIND: u8, const ROWS: usize, const VECS: usize>(
    operands: &Operands<'_>,
    row: usize,
    column: usize,
) {
    // SAFETY: by the promise of a `TileKernel`'s caller.
    unsafe {
        let mut sums = [[V::splat(0.0); VECS]; ROWS];
        let (mut panel, mut ahead) = (operands.panel.add(column), operands.ahead.from);
        for (segment, depth) in operands.depths.iter().enumerate() {
            let rows: [*const f32; ROWS] = std::array::from_fn(|i| *operands.rows.add(segment * TILE_ROWS + row + i));
            for step in 0..*depth {
                prefetch_line(ahead);
                ahead = ahead.wrapping_byte_add(operands.ahead.of_step);
                let columns: [V; VECS] = std::array::from_fn(|j| V::load(panel.add(j * V::LANES)));
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let left = V::splat(row.add(step).read_unaligned());
                    for (sum, right) in sums.iter_mut().zip(&columns) {
                        *sum = match KIND {
                            F32 => left.mul_add(*right, *sum),
                            BF16 => sum.dot_bf16(left, *right),
                            _ => sum.dot_int8(left, *right),
                        };
                    }
                }
                panel = panel.add(operands.width);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let out = operands.out.add((row + i) * operands.stride + column + j * V::LANES);
                match (operands.accumulate, KIND) {
                    (false, _) => sum.store(out),
                    (true, INT8) => sum.add_int(V::load(out)).store(out),
                    (true, _) => sum.add(V::load(out)).store(out),
                }
            }
        }
    }
}

/// A whole tile of `WIDTH` columns in blocks of `ROWS` by `VECS` vectors, as many as the registers hold.
#[inline(always)]
unsafe fn tile<V: Simd, const KIND: u8, const ROWS: usize, const VECS: usize, const WIDTH: usize>(
    rows: *const *const f32,
    depths: &[usize],
    panel: *const f32,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
    ahead: Ahead,
) {
    const { assert!(TILE_ROWS.is_multiple_of(ROWS) && WIDTH.is_multiple_of(VECS * V::LANES)) };
    let blocks = WIDTH / (VECS * V::LANES) * (TILE_ROWS / ROWS);
    for column in (0..WIDTH).step_by(VECS * V::LANES) {
        for row in (0..TILE_ROWS).step_by(ROWS) {
            let index = column / (VECS * V::LANES) * (TILE_ROWS / ROWS) + row / ROWS;
            let ahead = ahead.part(index, blocks);
            let operands = Operands { rows, depths, panel, width: WIDTH, out, stride, accumulate, ahead };
            // SAFETY: by the caller's promise.
            unsafe { block::<V, KIND, ROWS, VECS>(&operands, row, column) };
        }
    }
}

macro_rules! kernels {
    ($name:ident: $vector:ty, $kind:ident, $features:literal, rows $rows:literal, vectors $wide:literal $middle:literal $narrow:literal) => {
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
                        ahead: Ahead,
                    ) {
                        // SAFETY: by the caller's promise.
                        unsafe {
                            tile::<$vector, $kind, $rows, $vectors, $width>(
                                rows, depths, panel, out, stride, accumulate, ahead,
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

kernels!(portable_f32: Portable, F32, "sse2", rows 4, vectors 2 2 2);
kernels!(portable_bf16: Portable, BF16, "sse2", rows 4, vectors 2 2 2);
kernels!(portable_int8: Portable, INT8, "sse2", rows 4, vectors 2 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2_f32: Avx2, F32, "avx2,fma", rows 4, vectors 3 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2_bf16: Avx2, BF16, "avx2,fma", rows 4, vectors 2 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2_int8: Avx2, INT8, "avx2,fma", rows 4, vectors 2 2 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_f32: Avx512<false, false>, F32, "avx512f,avx512vl,avx512dq,avx512bw", rows 8, vectors 3 2 1);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_bf16_by_f32: Avx512<false, false>, BF16, "avx512f,avx512vl,avx512dq,avx512bw", rows 8, vectors 3 2 1);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_bf16: Avx512<true, true>, BF16, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16", rows 8, vectors 3 2 1);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_int8_by_int16: Avx512<false, false>, INT8, "avx512f,avx512vl,avx512dq,avx512bw", rows 8, vectors 3 2 1);
#[cfg(target_arch = "x86_64")]
kernels!(avx512_int8: Avx512<true, false>, INT8, "avx512f,avx512vl,avx512dq,avx512bw,avx512vnni", rows 8, vectors 3 2 1);

/// The kernel for a panel of `width` columns: 16, 32 or [`PANEL`].
pub fn tile_kernel(set: InstructionSet, products: Products, width: usize) -> TileKernel {
    #[cfg(target_arch = "x86_64")]
    match products {
        Products::F32 if set.is_avx512() => return avx512_f32(width),
        Products::Bf16 if set.has_bf16() => return avx512_bf16(width),
        Products::Bf16 if set.is_avx512() => return avx512_bf16_by_f32(width),
        Products::Int8 if set.has_vnni() => return avx512_int8(width),
        Products::Int8 if set.is_avx512() => return avx512_int8_by_int16(width),
        Products::F32 if set.is_avx2() => return avx2_f32(width),
        Products::Bf16 if set.is_avx2() => return avx2_bf16(width),
        Products::Int8 if set.is_avx2() => return avx2_int8(width),
        _ => (),
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = set;
    match products {
        Products::F32 => portable_f32(width),
        Products::Bf16 => portable_bf16(width),
        Products::Int8 => portable_int8(width),
    }
}
