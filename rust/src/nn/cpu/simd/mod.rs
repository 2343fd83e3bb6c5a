//! Vectors of f32 behind one trait, for kernels that are written once and compiled for each instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;

/// A vector of [`Simd::LANES`] f32.
///
/// # Safety
/// A type that implements this gives out values only through the unsafe functions, whose callers promise that the
/// machine has the instructions; operations on values may therefore use them.
pub unsafe trait Simd: Copy {
    /// Numbers in a vector.
    const LANES: usize;

    /// # Safety
    /// The machine has this type's instructions.
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// The machine has this type's instructions, and `from` points to as many numbers as there are lanes.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// `to` points to room for as many numbers as there are lanes.
    unsafe fn store(self, to: *mut f32);

    fn add(self, other: Self) -> Self;

    fn sub(self, other: Self) -> Self;

    fn mul(self, other: Self) -> Self;

    /// `self * factor + addend`, rounded once; in plain code to f64 first.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// The larger; `other` where one is no number.
    fn max(self, other: Self) -> Self;

    /// 2^n for whole numbers n in -126..=127, times `self`.
    fn scale(self, n: Self) -> Self;

    /// The sum of lanes that are whole numbers.
    fn add_int(self, other: Self) -> Self;

    /// `self` and `second` as pairs of bf16, rounded to nearest even.
    fn pair_bf16(self, second: Self) -> Self;

    /// Rounds to bf16, to nearest even.
    ///
    /// # Safety
    /// `to` points to room for as many bf16 as there are lanes.
    unsafe fn store_bf16(self, to: *mut u16);
}

/// A vector whose lanes are steps of products: each a number, a pair of bf16, or four bytes.
pub trait Dot: Simd {
    /// `self + a * b`, rounded once where the instructions can.
    #[inline(always)]
    fn dot_f32(self, a: Self, b: Self) -> Self {
        a.mul_add(b, self)
    }

    /// `self + a.0 * b.0 + a.1 * b.1` for pairs of bf16 in each lane.
    #[inline(always)]
    fn dot_bf16(self, a: Self, b: Self) -> Self {
        dot_bf16_by_f32(self, a, b)
    }

    /// The first of a pair of bf16 in each lane.
    fn first_bf16(self) -> Self;

    /// The second of a pair of bf16 in each lane.
    fn second_bf16(self) -> Self;

    /// `self + a.0 * b.0 + … + a.3 * b.3` in whole numbers, for quadruples of u8 and i8 in each lane.
    fn dot_int8(self, a: Self, b: Self) -> Self;
}

/// [`Dot::dot_bf16`] where there is no instruction for it.
#[inline(always)]
fn dot_bf16_by_f32<V: Dot>(sum: V, a: V, b: V) -> V {
    sum.dot_f32(a.first_bf16(), b.first_bf16()).dot_f32(a.second_bf16(), b.second_bf16())
}

/// e^x to about 1 ulp, by the polynomial of Cephes' `expf`. Underflow ends at e^-87, overflow at e^88.
///
/// # Safety
/// The machine has the vector's instructions.
#[inline(always)]
pub unsafe fn exp<V: Simd>(x: V) -> V {
    // SAFETY: by the caller's promise.
    unsafe {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
        let round = V::splat(12_582_912.0);
        // In this order, what is no number stays none.
        let x = V::splat(-87.0).max(x);
        let n = x.mul_add(V::splat(std::f32::consts::LOG2_E), round).sub(round);
        let r = n.mul_add(V::splat(2.121_944_4e-4), n.mul_add(V::splat(-0.693_359_4), x));
        let mut p = V::splat(1.987_569_2e-4);
        for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
            p = p.mul_add(r, V::splat(coefficient));
        }
        p.scale(n)
    }
}

/// 2^x to 1.1e-4, by the polynomial of degree 3 whose relative error is the least of those that are 1 at 0: finer than bf16
/// can tell. Underflow ends at 2^-126.
///
/// # Safety
/// The machine has the vector's instructions.
#[inline(always)]
pub unsafe fn exp2_for_bf16<V: Simd>(x: V) -> V {
    // SAFETY: by the caller's promise.
    unsafe {
        let round = V::splat(12_582_912.0);
        let x = V::splat(-126.0).max(x);
        let n = x.add(round).sub(round);
        let f = x.sub(n);
        let mut p = V::splat(0.055_008_937);
        for coefficient in [0.242_210_97, 0.693_282_9, 1.0] {
            p = p.mul_add(f, V::splat(coefficient));
        }
        p.scale(n)
    }
}

/// The nearest bf16's bits; what is no number stays none.
#[inline(always)]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}
