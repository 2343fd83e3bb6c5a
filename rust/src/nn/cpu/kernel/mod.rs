//! The innermost product: a tile of the output, held in registers over the whole depth.
//!
//! A tile is [`TILE_ROWS`] rows of the left matrix by one panel of the right one (Goto and van de Geijn 2008). The left
//! rows are found through pointers, so that a convolution reads its input where it lies (Dukhan 2019, "The Indirect
//! Convolution Algorithm"). Both sides are read in steps of four bytes: one f32, two bf16 whose products are added,
//! or four bytes whose products are.

mod broadcast;
#[cfg(target_arch = "aarch64")]
mod by_element;

use super::simd::Simd;
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
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// What a tile is computed of, and where it goes.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// [`TILE_ROWS`] pointers a segment, each to as many steps as `depths` says for that segment.
    pub rows: *const *const f32,
    /// Steps of each segment.
    pub depths: &'a [usize],
    /// The steps of all segments one after the other, each as wide as the panel.
    pub panel: *const f32,
    /// The tile's first number.
    pub out: *mut f32,
    /// From row to row of the tile.
    pub stride: usize,
    /// Whether the tile is added to what is there.
    pub accumulate: bool,
    /// What is asked for meanwhile.
    pub ahead: Ahead,
}

/// Computes one tile: the sum over all segments of rows times panel.
///
/// # Safety
/// All pointers are good for what [`Tile`] says, and the machine has the instructions that the kernel was chosen for.
pub type TileKernel = unsafe fn(&Tile<'_>);

/// A way to compute the blocks of a tile, which are held in registers.
trait Blocks {
    /// Vectors of the block's columns.
    type Vector: Simd;

    /// Whether sums are whole numbers.
    const SUMS_INTEGERS: bool;

    /// The sums of `ROWS` rows from `row` on by `VECS` vectors from column `column` of a panel `WIDTH` wide on, for which
    /// `ahead` is the part of the tile's.
    ///
    /// # Safety
    /// The tile is good for what [`TileKernel`] says, and the machine has the instructions.
    unsafe fn sums<const ROWS: usize, const VECS: usize, const WIDTH: usize>(
        tile: &Tile<'_>,
        ahead: Ahead,
        row: usize,
        column: usize,
    ) -> [[Self::Vector; VECS]; ROWS];
}

/// A whole tile of `WIDTH` columns in blocks of `ROWS` by `VECS` vectors, as many as the registers hold.
#[inline(always)]
unsafe fn compute<B: Blocks, const ROWS: usize, const VECS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    const { assert!(TILE_ROWS.is_multiple_of(ROWS) && WIDTH.is_multiple_of(VECS * B::Vector::LANES)) };
    let blocks = WIDTH / (VECS * B::Vector::LANES) * (TILE_ROWS / ROWS);
    for column in (0..WIDTH).step_by(VECS * B::Vector::LANES) {
        for row in (0..TILE_ROWS).step_by(ROWS) {
            let index = column / (VECS * B::Vector::LANES) * (TILE_ROWS / ROWS) + row / ROWS;
            let ahead = tile.ahead.part(index, blocks);
            // SAFETY: by the caller's promise.
            unsafe {
                let sums = B::sums::<ROWS, VECS, WIDTH>(tile, ahead, row, column);
                for (i, sums) in sums.iter().enumerate() {
                    for (j, sum) in sums.iter().enumerate() {
                        let out = tile.out.add((row + i) * tile.stride + column + j * B::Vector::LANES);
                        match (tile.accumulate, B::SUMS_INTEGERS) {
                            (false, _) => sum.store(out),
                            (true, true) => sum.add_int(B::Vector::load(out)).store(out),
                            (true, false) => sum.add(B::Vector::load(out)).store(out),
                        }
                    }
                }
            }
        }
    }
}

/// Defines a function that gives the kernel of a panel's width: `$blocks` compiled with the instructions in brackets.
macro_rules! kernels {
    ($name:ident: $blocks:ty, [$($features:literal)?], rows $rows:literal, vectors $wide:literal $middle:literal $narrow:literal) => {
        pub fn $name(width: usize) -> $crate::nn::cpu::kernel::TileKernel {
            macro_rules! kernel {
                ($vectors:literal, $width:literal) => {{
                    $(#[target_feature(enable = $features)])?
                    unsafe fn kernel(tile: &$crate::nn::cpu::kernel::Tile<'_>) {
                        // SAFETY: by the caller's promise.
                        unsafe { $crate::nn::cpu::kernel::compute::<$blocks, $rows, $vectors, $width>(tile) };
                    }
                    kernel
                }};
            }
            match width {
                $crate::nn::cpu::kernel::PANEL => kernel!($wide, 48),
                32 => kernel!($middle, 32),
                _ => kernel!($narrow, 16),
            }
        }
    };
}
use kernels;

/// The kernel for a panel of `width` columns: 16, 32 or [`PANEL`].
pub fn tile_kernel(set: InstructionSet, products: Products, width: usize) -> TileKernel {
    #[cfg(target_arch = "aarch64")]
    if let Some(kernel) = by_element::tile_kernel(set, products, width) {
        return kernel;
    }
    broadcast::tile_kernel(set, products, width)
}
