//! Vectors in plain code.

use super::{Dot, Simd, to_bf16};

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
        // Without an instruction for it, a fused product is a slow function call; f64 holds any product of f32.
        Self(std::array::from_fn(|lane| {
            let [value, factor, addend] = [self, factor, addend].map(|vector| vector.0[lane]);
            match cfg!(target_arch = "aarch64") {
                true => value.mul_add(factor, addend),
                false => (f64::from(value) * f64::from(factor) + f64::from(addend)) as f32,
            }
        }))
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
    fn add_int(self, other: Self) -> Self {
        self.zip(other, |a, b| f32::from_bits(a.to_bits().wrapping_add(b.to_bits())))
    }

    #[inline(always)]
    fn pair_bf16(self, second: Self) -> Self {
        self.zip(second, |first, second| f32::from_bits(u32::from(to_bf16(first)) | u32::from(to_bf16(second)) << 16))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16) {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<[u16; 4]>().write_unaligned(self.0.map(to_bf16)) };
    }
}

impl Dot for Portable {
    #[inline(always)]
    fn dot_f32(self, a: Self, b: Self) -> Self {
        if cfg!(target_arch = "aarch64") { a.mul_add(b, self) } else { self.add(a.mul(b)) }
    }

    #[inline(always)]
    fn first_bf16(self) -> Self {
        Self(self.0.map(|lane| f32::from_bits(lane.to_bits() << 16)))
    }

    #[inline(always)]
    fn second_bf16(self) -> Self {
        Self(self.0.map(|lane| f32::from_bits(lane.to_bits() & 0xffff_0000)))
    }

    #[inline(always)]
    fn dot_int8(self, a: Self, b: Self) -> Self {
        let mut sums = self.0.map(|lane| lane.to_bits() as i32);
        for (sum, (a, b)) in sums.iter_mut().zip(a.0.iter().zip(&b.0)) {
            for (a, b) in a.to_bits().to_le_bytes().into_iter().zip(b.to_bits().to_le_bytes()) {
                *sum += i32::from(a) * i32::from(b as i8);
            }
        }
        Self(sums.map(|sum| f32::from_bits(sum as u32)))
    }
}
