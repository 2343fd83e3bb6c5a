//! Vectors of AVX-512.

use std::arch::x86_64::*;

use super::{Dot, Simd, dot_bf16_by_f32};

/// Sixteen lanes, with AVX-512 F, VL, DQ and BW, and with VNNI and BF16 where it says so.
#[derive(Clone, Copy)]
pub struct Avx512<const VNNI: bool, const BF16: bool>(__m512);

// SAFETY: values come only from the unsafe functions.
unsafe impl<const VNNI: bool, const BF16: bool> Simd for Avx512<VNNI, BF16> {
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
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let sum = _mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
            Self(_mm512_castsi512_ps(sum))
        }
    }

    #[inline(always)]
    fn pair_bf16(self, second: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let second = _mm512_slli_epi32::<16>(second.bf16_bits());
            Self(_mm512_castsi512_ps(_mm512_or_si512(self.bf16_bits(), second)))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16) {
        // SAFETY: as for `dot_bf16`, and by the caller's promise.
        unsafe {
            if BF16 {
                return to.cast::<__m256bh>().write_unaligned(_mm512_cvtneps_pbh(self.0));
            }
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(self.bf16_bits()));
        }
    }
}

impl<const VNNI: bool, const BF16: bool> Dot for Avx512<VNNI, BF16> {
    #[inline(always)]
    fn dot_bf16(self, a: Self, b: Self) -> Self {
        if !BF16 {
            return dot_bf16_by_f32(self, a, b);
        }
        // SAFETY: as above; `BF16` says that the machine has AVX512-BF16.
        unsafe {
            let pairs = |x: Self| std::mem::transmute::<__m512, __m512bh>(x.0);
            Self(_mm512_dpbf16_ps(self.0, pairs(a), pairs(b)))
        }
    }

    #[inline(always)]
    fn first_bf16(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(self.0))) })
    }

    #[inline(always)]
    fn second_bf16(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_and_ps(self.0, _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000_u32 as i32))) })
    }

    #[inline(always)]
    fn dot_int8(self, a: Self, b: Self) -> Self {
        // SAFETY: as above; `VNNI` says that the machine has AVX512-VNNI. Without it, sums of two products of u8 and i8 do
        // not fit 16 bits, so even and odd bytes go apart.
        unsafe {
            let [sum, a, b] = [_mm512_castps_si512(self.0), _mm512_castps_si512(a.0), _mm512_castps_si512(b.0)];
            if VNNI {
                return Self(_mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, a, b)));
            }
            let even_a = _mm512_and_si512(a, _mm512_set1_epi16(0xff));
            let even_b = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b));
            let (odd_a, odd_b) = (_mm512_srli_epi16::<8>(a), _mm512_srai_epi16::<8>(b));
            let even = _mm512_add_epi32(sum, _mm512_madd_epi16(even_a, even_b));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(even, _mm512_madd_epi16(odd_a, odd_b))))
        }
    }
}

impl<const VNNI: bool, const BF16: bool> Avx512<VNNI, BF16> {
    /// The lanes rounded to bf16, in the lower half of each.
    #[inline(always)]
    fn bf16_bits(self) -> __m512i {
        // SAFETY: a value proves that the machine has the instructions, `BF16` that it has AVX512-BF16.
        unsafe {
            if BF16 {
                return _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0)));
            }
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_srli_epi32::<16>(_mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x40_0000)))
        }
    }
}
