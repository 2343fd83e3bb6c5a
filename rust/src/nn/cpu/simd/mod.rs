//! Vectors of f32 behind one trait, for kernels that are written once and compiled for each instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
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

    /// `self * factor + addend`, rounded once where the instructions can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    fn max(self, other: Self) -> Self;

    /// 2^n for whole numbers n in -126..=127, times `self`.
    fn scale(self, n: Self) -> Self;

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

/// [`Simd::dot_bf16`] where there is no instruction for it.
#[inline(always)]
fn dot_bf16_by_f32<V: Simd>(sum: V, a: V, b: V) -> V {
    let first = a.first_bf16().mul_add(b.first_bf16(), sum);
    a.second_bf16().mul_add(b.second_bf16(), first)
}

/// What [`exp2`] needs to be exact to 0.7 ulp: the polynomial of degree 6 whose relative error is the least of those that
/// are 1 at 0, the highest power first.
pub const EXP2: [f32; 6] =
    [1.535_336e-4, 1.339_887_5e-3, 9.618_437e-3, 5.550_332_4e-2, 0.240_226_48, std::f32::consts::LN_2];

/// The same of degree 3, to 1.1e-4: finer than bf16 can tell.
pub const EXP2_FOR_BF16: [f32; 3] = [0.055_008_937, 0.242_210_97, 0.693_282_9];

/// 2^x for x up to 127. Underflow ends at 2^-126.
///
/// # Safety
/// The machine has the vector's instructions.
#[inline(always)]
pub unsafe fn exp2<V: Simd, const DEGREE: usize>(x: V, coefficients: &[f32; DEGREE]) -> V {
    // SAFETY: by the caller's promise.
    unsafe {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
        let round = V::splat(12_582_912.0);
        // In this order, what is no number stays none.
        let x = V::splat(-126.0).max(x);
        let n = x.add(round).sub(round);
        let f = x.sub(n);
        let mut p = V::splat(coefficients[0]);
        for coefficient in &coefficients[1..] {
            p = p.mul_add(f, V::splat(*coefficient));
        }
        p.mul_add(f, V::splat(1.0)).scale(n)
    }
}

/// The nearest bf16's bits; what is no number stays none.
#[inline(always)]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}
