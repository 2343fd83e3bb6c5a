//! Vectors of NEON.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Simd;

/// Four lanes, with NEON, and with Armv8.6's BF16 where it says so.
#[derive(Clone, Copy)]
pub struct Neon<const BF16: bool>(pub float32x4_t);

// SAFETY: every aarch64 has NEON; values come only from the unsafe functions where `BF16` says more.
unsafe impl<const BF16: bool> Simd for Neon<BF16> {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: every aarch64 has NEON.
        Self(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above, and by the caller's promise.
        Self(unsafe { vld1q_f32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above, and by the caller's promise.
        unsafe { vst1q_f32(to, self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: every aarch64 has NEON.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmulq_f32(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vfmaq_f32(addend.0, self.0, factor.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above. The instruction for it would not drop what is no number.
        Self(unsafe { vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0) })
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n.0), vdupq_n_s32(127));
            Self(vmulq_f32(self.0, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))))
        }
    }

    #[inline(always)]
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let sum = vaddq_s32(vreinterpretq_s32_f32(self.0), vreinterpretq_s32_f32(other.0));
            Self(vreinterpretq_f32_s32(sum))
        }
    }

    #[inline(always)]
    fn pair_bf16(self, second: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let (first, second) = (self.to_bf16(), second.to_bf16());
            Self(vreinterpretq_f32_u16(vcombine_u16(vzip1_u16(first, second), vzip2_u16(first, second))))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16) {
        // SAFETY: by the caller's promise.
        unsafe { vst1_u16(to, self.to_bf16()) };
    }
}

impl<const BF16: bool> Neon<BF16> {
    /// The lanes rounded to bf16.
    #[inline(always)]
    fn to_bf16(self) -> uint16x4_t {
        // SAFETY: a value proves that the machine has the instructions.
        unsafe {
            if BF16 {
                let rounded: uint16x4_t;
                asm!(
                    "bfcvtn {to:v}.4h, {from:v}.4s",
                    to = lateout(vreg) rounded, from = in(vreg) self.0,
                    options(pure, nomem, nostack, preserves_flags),
                );
                return rounded;
            }
            let bits = vreinterpretq_u32_f32(self.0);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
            vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(self.0, self.0), rounded, quiet))
        }
    }
}
