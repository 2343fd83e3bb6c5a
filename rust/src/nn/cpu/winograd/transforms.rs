//! The transforms of Winograd's minimal filtering, and tiles taken through them.

use super::super::dispatch::vectorised;
use super::super::kernel::Products;
use super::super::simd::Simd;
use crate::instruction_set::InstructionSet;

/// One-dimensional transforms for `OUT` outputs from `IN = OUT + 2` inputs.
pub trait Transform<const OUT: usize, const IN: usize> {
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
    unsafe fn transform_output(set: InstructionSet, sums: *const f32, stride: usize, width: usize, to: Outputs<'_>);
}

/// Where a transformed tile goes: one row for each position.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The row of the first position.
    pub data: *mut f32,
    /// Steps from the row of one position to that of the next.
    pub stride: usize,
    pub products: Products,
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
#[expect(clippy::needless_range_loop, reason = "rows and columns change places")]
unsafe fn input_vector<V: Simd, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    load: impl Fn(usize) -> V,
    channel: usize,
    to: Rows,
) {
    // SAFETY: by the promise of `input_tile`'s caller.
    unsafe {
        // Plain loops: closures over vectors are not inlined into functions that have more instructions than they do.
        let mut rows = [[V::splat(0.0); IN]; IN];
        for x in 0..IN {
            let mut column = [V::splat(0.0); IN];
            for (y, value) in column.iter_mut().enumerate() {
                *value = load(y * IN + x);
            }
            let column = T::input(column);
            for y in 0..IN {
                rows[y][x] = column[y];
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            let row = T::input(row);
            for (x, value) in row.into_iter().enumerate() {
                let to_row = to.data.add((y * IN + x) * to.stride);
                match to.products {
                    Products::F32 => value.store(to_row.add(channel)),
                    Products::Bf16 | Products::Int8 => value.store_bf16(to_row.cast::<u16>().add(channel)),
                }
            }
        }
    }
}

/// Where the outputs of a tile go.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    /// The first column of each output, row by row.
    pub pixels: &'a [*mut f32],
    /// What is added to each; empty where there is nothing.
    pub residuals: &'a [*const f32],
    /// What is added to all.
    pub bias: *const f32,
}

/// A^T m A, bias and residual for all columns of one tile's panel.
///
/// # Safety
/// The sums of each position are `width` numbers, `stride` apart; pixels, residuals and bias are good for as many.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows and columns change places")]
unsafe fn output_tile<V: Simd, T: Transform<OUT, IN>, const OUT: usize, const IN: usize>(
    sums: *const f32,
    stride: usize,
    width: usize,
    to: Outputs<'_>,
) {
    // SAFETY: by the caller's promise; panels are multiples of all vectors.
    unsafe {
        for first in (0..width).step_by(V::LANES) {
            let mut rows = [[V::splat(0.0); IN]; OUT];
            for x in 0..IN {
                let mut column = [V::splat(0.0); IN];
                for (y, value) in column.iter_mut().enumerate() {
                    *value = V::load(sums.add((y * IN + x) * stride + first));
                }
                let column = T::output(column);
                for y in 0..OUT {
                    rows[y][x] = column[y];
                }
            }
            let bias = V::load(to.bias.add(first));
            for (y, row) in rows.into_iter().enumerate() {
                for (x, value) in T::output(row).into_iter().enumerate() {
                    let pixel = y * OUT + x;
                    let mut value = value.add(bias);
                    if let Some(residual) = to.residuals.get(pixel) {
                        value = value.add(V::load(residual.add(first)));
                    }
                    value.store(to.pixels[pixel].add(first));
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

        unsafe fn transform_output(
            set: InstructionSet,
            sums: *const f32,
            stride: usize,
            width: usize,
            to: Outputs<'_>,
        ) {
            vectorised! {
                unsafe fn run<V>(sums: *const f32, stride: usize, width: usize, to: Outputs<'_>) {
                    // SAFETY: by the caller's promise.
                    unsafe { output_tile::<V, $kind, $out, $in>(sums, stride, width, to) }
                }
            }
            // SAFETY: by the caller's promise.
            unsafe { run(set, sums, stride, width, to) }
        }
    };
}

/// F(2x2, 3x3).
pub struct F2;
/// F(4x4, 3x3).
pub struct F4;

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

/// The points of F(4x4) are 0, plus and minus these, and infinity. They are each other's inverses, which makes two of the
/// transform's factors 1, and lose less than half of what the usual 1 and 2 do.
const POINTS: (f32, f32) = (2.0 / 3.0, 1.5);

impl Transform<4, 6> for F4 {
    #[inline(always)]
    unsafe fn input<V: Simd>(d: [V; 6]) -> [V; 6] {
        let (a, b) = POINTS;
        // SAFETY: by the caller's promise.
        let (near, far, near_square, far_square, sum) =
            unsafe { (V::splat(a), V::splat(b), V::splat(-a * a), V::splat(-b * b), V::splat(-a * a - b * b)) };
        let (near_even, far_even) = (d[2].mul_add(far_square, d[4]), d[2].mul_add(near_square, d[4]));
        let (near_odd, far_odd) = (d[3].mul(near).sub(d[1].mul(far)), d[3].mul(far).sub(d[1].mul(near)));
        [
            d[2].mul_add(sum, d[0].add(d[4])),
            near_even.add(near_odd),
            near_even.sub(near_odd),
            far_even.add(far_odd),
            far_even.sub(far_odd),
            d[3].mul_add(sum, d[1].add(d[5])),
        ]
    }

    #[inline(always)]
    unsafe fn output<V: Simd>(m: [V; 6]) -> [V; 4] {
        let (a, b) = POINTS;
        // SAFETY: by the caller's promise.
        let (near, far, near_square, far_square, near_cube, far_cube) = unsafe {
            let square = (V::splat(a * a), V::splat(b * b));
            (V::splat(a), V::splat(b), square.0, square.1, V::splat(a * a * a), V::splat(b * b * b))
        };
        let (near_sum, near_difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(near_sum).add(far_sum),
            far_difference.mul_add(far, near_difference.mul(near)),
            far_sum.mul_add(far_square, near_sum.mul(near_square)),
            far_difference.mul_add(far_cube, near_difference.mul_add(near_cube, m[5])),
        ]
    }

    fn weight(g: [f64; 3]) -> [f64; 6] {
        let (a, b) = (f64::from(POINTS.0), f64::from(POINTS.1));
        let at = |point: f64, norm: f64| (g[0] + point * g[1] + point * point * g[2]) / norm;
        let (near, far) = (2.0 * a * a * (a * a - b * b), 2.0 * b * b * (b * b - a * a));
        [g[0] / (a * a * b * b), at(a, near), at(-a, near), at(b, far), at(-b, far), g[2]]
    }

    tiles!(F4, 4, 6);
}
