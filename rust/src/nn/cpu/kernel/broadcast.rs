//! Tiles by which one number of a row at a time is spread over a vector, and multiplied by vectors of columns.

use super::super::simd::{Dot, Portable};
use super::{Ahead, Blocks, Products, TILE_ROWS, Tile, TileKernel, kernels, prefetch_line};
use crate::instruction_set::InstructionSet;

/// The kinds of products as parameters of a kernel.
const F32: u8 = 0;
const BF16: u8 = 1;
const INT8: u8 = 2;

struct Broadcast<V, const KIND: u8>(V);

impl<V: Dot, const KIND: u8> Blocks for Broadcast<V, KIND> {
    type Vector = V;

    const SUMS_INTEGERS: bool = KIND == INT8;

    #[inline(always)]
    unsafe fn sums<const ROWS: usize, const VECS: usize, const WIDTH: usize>(
        tile: &Tile<'_>,
        ahead: Ahead,
        row: usize,
        column: usize,
    ) -> [[V; VECS]; ROWS] {
        // SAFETY: by the promise of a `TileKernel`'s caller.
        unsafe {
            let mut sums = [[V::splat(0.0); VECS]; ROWS];
            let (mut panel, mut line) = (tile.panel.add(column), ahead.from);
            for (segment, depth) in tile.depths.iter().enumerate() {
                let rows: [*const f32; ROWS] = std::array::from_fn(|i| *tile.rows.add(segment * TILE_ROWS + row + i));
                for step in 0..*depth {
                    prefetch_line(line);
                    line = line.wrapping_byte_add(ahead.of_step);
                    let columns: [V; VECS] = std::array::from_fn(|j| V::load(panel.add(j * V::LANES)));
                    for (sums, row) in sums.iter_mut().zip(&rows) {
                        let left = V::splat(row.add(step).read_unaligned());
                        for (sum, right) in sums.iter_mut().zip(&columns) {
                            *sum = match KIND {
                                F32 => sum.dot_f32(left, *right),
                                BF16 => sum.dot_bf16(left, *right),
                                _ => sum.dot_int8(left, *right),
                            };
                        }
                    }
                    panel = panel.add(WIDTH);
                }
            }
            sums
        }
    }
}

kernels!(portable_f32: Broadcast<Portable, F32>, [], rows 4, vectors 2 2 2);
kernels!(portable_bf16: Broadcast<Portable, BF16>, [], rows 4, vectors 2 2 2);
kernels!(portable_int8: Broadcast<Portable, INT8>, [], rows 4, vectors 2 2 2);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::super::simd::{Avx2, Avx512};
    use super::{BF16, Broadcast, F32, INT8, kernels};

    kernels!(avx2_f32: Broadcast<Avx2, F32>, ["avx2,fma"], rows 4, vectors 3 2 2);
    kernels!(avx2_bf16: Broadcast<Avx2, BF16>, ["avx2,fma"], rows 4, vectors 2 2 2);
    kernels!(avx2_int8: Broadcast<Avx2, INT8>, ["avx2,fma"], rows 4, vectors 2 2 2);

    type Avx512Plain = Avx512<false, false>;
    kernels!(avx512_f32: Broadcast<Avx512Plain, F32>, ["avx512f,avx512vl,avx512dq,avx512bw"], rows 8, vectors 3 2 1);
    kernels!(avx512_bf16_by_f32: Broadcast<Avx512Plain, BF16>, ["avx512f,avx512vl,avx512dq,avx512bw"], rows 8, vectors 3 2 1);
    kernels!(avx512_int8_by_int16: Broadcast<Avx512Plain, INT8>, ["avx512f,avx512vl,avx512dq,avx512bw"], rows 8, vectors 3 2 1);
    kernels!(avx512_bf16: Broadcast<Avx512<true, true>, BF16>, ["avx512f,avx512vl,avx512dq,avx512bw,avx512bf16"], rows 8, vectors 3 2 1);
    kernels!(avx512_int8: Broadcast<Avx512<true, false>, INT8>, ["avx512f,avx512vl,avx512dq,avx512bw,avx512vnni"], rows 8, vectors 3 2 1);
}

/// As [`super::tile_kernel`].
pub fn tile_kernel(set: InstructionSet, products: Products, width: usize) -> TileKernel {
    #[cfg(target_arch = "x86_64")]
    match products {
        Products::F32 if set.is_avx512() => return x86::avx512_f32(width),
        Products::Bf16 if set.has_bf16() => return x86::avx512_bf16(width),
        Products::Bf16 if set.is_avx512() => return x86::avx512_bf16_by_f32(width),
        Products::Int8 if set.has_vnni() => return x86::avx512_int8(width),
        Products::Int8 if set.is_avx512() => return x86::avx512_int8_by_int16(width),
        Products::F32 if set.is_avx2() => return x86::avx2_f32(width),
        Products::Bf16 if set.is_avx2() => return x86::avx2_bf16(width),
        Products::Int8 if set.is_avx2() => return x86::avx2_int8(width),
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
