//! Vectors of f32 behind one trait, for kernels that are written once and compiled for each instruction set.

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
    fn dot_bf16(self, a: Self, b: Self) -> Self;

    /// Rounds to bf16, to nearest even.
    ///
    /// # Safety
    /// `to` points to room for as many bf16 as there are lanes.
    unsafe fn store_bf16(self, to: *mut u16);
}

/// e^x to about 1 ulp, by the polynomial of Cephes' `expf`. Underflow ends at e^-87, overflow at e^88.
///
/// # Safety
/// The machine has the vector's instructions.
#[inline(always)]
pub unsafe fn exp<V: Simd>(x: V) -> V {
    macro_rules! splat {
        // SAFETY: by the caller's promise.
        ($value:expr) => {
            unsafe { V::splat($value) }
        };
    }
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    let round = splat!(12_582_912.0);
    let x = x.max(splat!(-87.0));
    let n = x.mul_add(splat!(std::f32::consts::LOG2_E), round).sub(round);
    let r = n.mul_add(splat!(2.121_944_4e-4), n.mul_add(splat!(-0.693_359_4), x));
    let mut p = splat!(1.987_569_2e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, splat!(coefficient));
    }
    p.scale(n)
}

/// The nearest bf16's bits; what is no number stays none.
#[inline(always)]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

/// Four lanes in plain code, which compilers turn into SSE2 or NEON.
#[derive(Clone, Copy)]
pub struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

// SAFETY: nothing but plain code.
unsafe impl Simd for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the caller's promise.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Without an instruction for it, a fused product is a slow function call.
        if cfg!(target_arch = "aarch64") {
            Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], addend.0[lane])))
        } else {
            self.mul(factor).add(addend)
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        self.zip(n, |value, n| value * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn dot_bf16(self, a: Self, b: Self) -> Self {
        let low = |x: Self| Self(x.0.map(|lane| f32::from_bits(lane.to_bits() << 16)));
        let high = |x: Self| Self(x.0.map(|lane| f32::from_bits(lane.to_bits() & 0xffff_0000)));
        high(a).mul_add(high(b), low(a).mul_add(low(b), self))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16) {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<[u16; 4]>().write_unaligned(self.0.map(to_bf16)) };
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// Eight lanes, with AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256);

    /// Sixteen lanes, with AVX-512 F, VL, DQ and BW. The functions on bf16 need BF16 as well.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    // SAFETY: values come only from the unsafe functions.
    unsafe impl Simd for Avx2 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: by the caller's promise.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: by the caller's promise.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: by the caller's promise.
            unsafe { _mm256_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: a value proves that the machine has the instructions.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn scale(self, n: Self) -> Self {
            // SAFETY: as above.
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(127));
                Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))))
            }
        }

        #[inline(always)]
        fn dot_bf16(self, a: Self, b: Self) -> Self {
            // SAFETY: as above.
            unsafe {
                let high_half = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
                let low = |x: Self| Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x.0))));
                let high = |x: Self| Self(_mm256_and_ps(x.0, high_half));
                high(a).mul_add(high(b), low(a).mul_add(low(b), self))
            }
        }

        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16) {
            // SAFETY: as above, and by the caller's promise.
            unsafe {
                let bits = _mm256_castps_si256(self.0);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
                let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
                let result = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan));
                let packed = _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256::<1>(result));
                _mm_storeu_si128(to.cast(), packed);
            }
        }
    }

    // SAFETY: values come only from the unsafe functions.
    unsafe impl Simd for Avx512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: by the caller's promise.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: by the caller's promise.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: by the caller's promise.
            unsafe { _mm512_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: a value proves that the machine has the instructions.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn scale(self, n: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
        }

        #[inline(always)]
        fn dot_bf16(self, a: Self, b: Self) -> Self {
            // SAFETY: as above; `InstructionSet` lets nobody ask for bf16 products by AVX-512 where BF16 is missing.
            unsafe {
                let pairs = |x: Self| std::mem::transmute::<__m512, __m512bh>(x.0);
                Self(_mm512_dpbf16_ps(self.0, pairs(a), pairs(b)))
            }
        }

        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16) {
            // SAFETY: as above, and by the caller's promise.
            unsafe { to.cast::<__m256bh>().write_unaligned(_mm512_cvtneps_pbh(self.0)) };
        }
    }
}
