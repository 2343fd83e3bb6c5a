//! Vectors of AVX2.

use std::arch::x86_64::*;

use super::{Dot, Simd};

/// Eight lanes, with AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(__m256);

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
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let sum = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
            Self(_mm256_castsi256_ps(sum))
        }
    }

    #[inline(always)]
    fn pair_bf16(self, second: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let second = _mm256_slli_epi32::<16>(second.bf16_bits());
            Self(_mm256_castsi256_ps(_mm256_or_si256(self.bf16_bits(), second)))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16) {
        // SAFETY: as above, and by the caller's promise.
        unsafe {
            let bits = self.bf16_bits();
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
            _mm_storeu_si128(to.cast(), packed);
        }
    }
}

impl Dot for Avx2 {
    #[inline(always)]
    fn first_bf16(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(self.0))) })
    }

    #[inline(always)]
    fn second_bf16(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_and_ps(self.0, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32))) })
    }

    #[inline(always)]
    fn dot_int8(self, a: Self, b: Self) -> Self {
        // SAFETY: as above. Sums of two products of u8 and i8 do not fit 16 bits, so even and odd bytes go apart.
        unsafe {
            let (a, b) = (_mm256_castps_si256(a.0), _mm256_castps_si256(b.0));
            let even_a = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
            let even_b = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
            let (odd_a, odd_b) = (_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
            let even = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_madd_epi16(even_a, even_b));
            Self(_mm256_castsi256_ps(_mm256_add_epi32(even, _mm256_madd_epi16(odd_a, odd_b))))
        }
    }
}

impl Avx2 {
    /// The lanes rounded to bf16, in the lower half of each.
    #[inline(always)]
    fn bf16_bits(self) -> __m256i {
        // SAFETY: a value proves that the machine has the instructions.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan))
        }
    }
}
