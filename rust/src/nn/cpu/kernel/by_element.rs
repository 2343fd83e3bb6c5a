//! Tiles by which four steps of a row are read at once, and each multiplied as an element of its vector: arm's instructions
//! take one without its being spread over a vector first.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::simd::Neon;
use super::{Ahead, Blocks, Products, TILE_ROWS, Tile, TileKernel, kernels, prefetch_line};
use crate::instruction_set::InstructionSet;

/// Steps in a vector.
const STEPS: usize = 4;

/// Kinds of products as parameters of a kernel.
const F32: u8 = 0;
/// bf16, by two products of f32.
const BF16_BY_F32: u8 = 1;
/// bf16, by Armv8.6's instruction.
const BF16: u8 = 2;
/// u8 times i8, by products of i8: 128 is taken from each u8.
const INT8_BY_SIGNED: u8 = 3;
/// u8 times i8, by Armv8.6's instruction.
const INT8: u8 = 4;

/// Steps as they are multiplied: in the first vector, but for pairs of bf16 that have to be parted.
type Ready = [float32x4_t; 2];

#[inline(always)]
unsafe fn ready<const KIND: u8>(steps: float32x4_t) -> Ready {
    // SAFETY: every aarch64 has NEON.
    unsafe {
        if KIND != BF16_BY_F32 {
            return [steps; 2];
        }
        let bits = vreinterpretq_u32_f32(steps);
        let halves = [vshlq_n_u32::<16>(bits), vandq_u32(bits, vdupq_n_u32(0xffff_0000))];
        halves.map(|half| vreinterpretq_f32_u32(half))
    }
}

/// Steps of a row as they are multiplied.
#[inline(always)]
unsafe fn ready_row<const KIND: u8>(steps: float32x4_t) -> Ready {
    // SAFETY: every aarch64 has NEON.
    unsafe {
        match KIND {
            INT8_BY_SIGNED => [vreinterpretq_f32_u8(veorq_u8(vreinterpretq_u8_f32(steps), vdupq_n_u8(0x80))); 2],
            _ => ready::<KIND>(steps),
        }
    }
}

macro_rules! dot {
    ($instruction:literal, $of_columns:literal, $of_row:literal, $step:ident, $sum:ident, $left:ident, $right:ident) => {
        asm!(
            concat!($instruction, " {sum:v}.4s, {right:v}.", $of_columns, ", {left:v}.", $of_row, "[{step}]"),
            sum = inout(vreg) $sum, right = in(vreg) $right[0], left = in(vreg) $left[0], step = const $step,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// `sum` and the products of step `STEP` of a row with a step of four columns.
#[inline(always)]
unsafe fn add<const KIND: u8, const STEP: i32>(mut sum: float32x4_t, left: Ready, right: Ready) -> float32x4_t {
    // SAFETY: every aarch64 has NEON, and the kernel's caller promises the rest.
    unsafe {
        match KIND {
            F32 => return vfmaq_laneq_f32::<STEP>(sum, right[0], left[0]),
            BF16_BY_F32 => {
                let first = vfmaq_laneq_f32::<STEP>(sum, right[0], left[0]);
                return vfmaq_laneq_f32::<STEP>(first, right[1], left[1]);
            }
            BF16 => dot!("bfdot", "8h", "2h", STEP, sum, left, right),
            INT8_BY_SIGNED => dot!("sdot", "16b", "4b", STEP, sum, left, right),
            _ => dot!("sudot", "16b", "4b", STEP, sum, left, right),
        }
    }
    sum
}

struct ByElement<const KIND: u8>;

impl<const KIND: u8> Blocks for ByElement<KIND> {
    type Vector = Neon<false>;

    const SUMS_INTEGERS: bool = KIND == INT8_BY_SIGNED || KIND == INT8;

    #[inline(always)]
    unsafe fn sums<const ROWS: usize, const VECS: usize, const WIDTH: usize>(
        tile: &Tile<'_>,
        ahead: Ahead,
        row: usize,
        column: usize,
    ) -> [[Neon<false>; VECS]; ROWS] {
        // SAFETY: by the promise of a `TileKernel`'s caller.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            let mut sums = [[zero; VECS]; ROWS];
            // What each sum lacks where 128 is taken from each number of the rows, negative.
            let mut lacks = [zero; VECS];
            let minus_128 = [vreinterpretq_f32_u8(vdupq_n_u8(0x80)); 2];
            let (mut panel, mut line) = (tile.panel.add(column), ahead.from);
            macro_rules! step {
                ($index:literal, $left:ident) => {
                    prefetch_line(line);
                    line = line.wrapping_byte_add(ahead.of_step);
                    let columns: [Ready; VECS] =
                        std::array::from_fn(|j| ready::<KIND>(vld1q_f32(panel.add(j * STEPS))));
                    if KIND == INT8_BY_SIGNED {
                        for (lacks, right) in lacks.iter_mut().zip(&columns) {
                            *lacks = add::<KIND, 0>(*lacks, minus_128, *right);
                        }
                    }
                    for (sums, left) in sums.iter_mut().zip(&$left) {
                        for (sum, right) in sums.iter_mut().zip(&columns) {
                            *sum = add::<KIND, $index>(*sum, *left, *right);
                        }
                    }
                    panel = panel.add(WIDTH);
                };
            }
            for (segment, depth) in tile.depths.iter().enumerate() {
                let rows: [*const f32; ROWS] = std::array::from_fn(|i| *tile.rows.add(segment * TILE_ROWS + row + i));
                let whole = depth / STEPS * STEPS;
                for step in (0..whole).step_by(STEPS) {
                    let left: [Ready; ROWS] = std::array::from_fn(|i| ready_row::<KIND>(vld1q_f32(rows[i].add(step))));
                    step!(0, left);
                    step!(1, left);
                    step!(2, left);
                    step!(3, left);
                }
                for step in whole..*depth {
                    let left: [Ready; ROWS] =
                        std::array::from_fn(|i| ready_row::<KIND>(vld1q_dup_f32(rows[i].add(step))));
                    step!(0, left);
                }
            }
            sums.map(|sums| {
                std::array::from_fn(|j| match KIND {
                    INT8_BY_SIGNED => {
                        let [sum, lacks] = [sums[j], lacks[j]].map(|lanes| vreinterpretq_s32_f32(lanes));
                        Neon(vreinterpretq_f32_s32(vsubq_s32(sum, lacks)))
                    }
                    _ => Neon(sums[j]),
                })
            })
        }
    }
}

kernels!(f32: ByElement<F32>, [], rows 8, vectors 2 2 2);
kernels!(bf16_by_f32: ByElement<BF16_BY_F32>, [], rows 4, vectors 3 2 2);
kernels!(bf16: ByElement<BF16>, ["bf16"], rows 8, vectors 2 2 2);
kernels!(int8_by_signed: ByElement<INT8_BY_SIGNED>, ["dotprod"], rows 8, vectors 2 2 2);
kernels!(int8: ByElement<INT8>, ["i8mm"], rows 8, vectors 2 2 2);

/// As [`super::tile_kernel`], where there is one by elements.
pub fn tile_kernel(set: InstructionSet, products: Products, width: usize) -> Option<TileKernel> {
    match products {
        Products::F32 if set.is_neon() => Some(f32(width)),
        Products::Bf16 if set.has_bf16() => Some(bf16(width)),
        Products::Bf16 if set.is_neon() => Some(bf16_by_f32(width)),
        Products::Int8 if set.has_bf16() => Some(int8(width)),
        Products::Int8 if set.has_dotprod() => Some(int8_by_signed(width)),
        _ => None,
    }
}
