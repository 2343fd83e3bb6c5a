//! One function compiled for several sets of instructions.

#[cfg(test)]
use crate::instruction_set::InstructionSet;

/// Defines a function over slices that is compiled for several instruction sets and picks one at run time, and a
/// module of the same name whose `on` takes the instruction set to use.
///
/// Rust neither fuses nor reorders floating-point operations, so all versions give the same bits.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            $name::on($crate::instruction_set::InstructionSet::best(), $($arg),*);
        }

        $vis mod $name {
            #[allow(unused_imports, reason = "some functions need nothing but their arguments")]
            use super::*;

            #[inline(always)]
            fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
            fn avx512($($arg: $ty),*) { body($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) { body($($arg),*) }

            #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "there is one version"))]
            pub fn on(set: $crate::instruction_set::InstructionSet, $($arg: $ty),*) {
                #[cfg(target_arch = "x86_64")]
                {
                    if set.is_avx512() {
                        // SAFETY: an `InstructionSet` is only made where its instructions were found.
                        return unsafe { avx512($($arg),*) };
                    }
                    if set.is_avx2() {
                        // SAFETY: as above.
                        return unsafe { avx2($($arg),*) };
                    }
                }
                body($($arg),*)
            }
        }
    };
}
pub(super) use multiversion;

/// Defines a function generic over [`Simd`](super::simd::Simd) that is compiled for several instruction sets and picks
/// one by its first argument. The body's vectors are of the type `V`.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident<$v:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis unsafe fn $name(set: $crate::instruction_set::InstructionSet, $($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            unsafe fn body<$v: $crate::nn::cpu::simd::Simd>($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx512vnni")]
            unsafe fn avx512_bf16($($arg: $ty),*) $(-> $out)? {
                // SAFETY: by the caller's promise.
                unsafe { body::<$crate::nn::cpu::simd::Avx512<true, true>>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
            unsafe fn avx512($($arg: $ty),*) $(-> $out)? {
                // SAFETY: by the caller's promise.
                unsafe { body::<$crate::nn::cpu::simd::Avx512<false, false>>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) $(-> $out)? {
                // SAFETY: by the caller's promise.
                unsafe { body::<$crate::nn::cpu::simd::Avx2>($($arg),*) }
            }

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "bf16")]
            unsafe fn neon_bf16($($arg: $ty),*) $(-> $out)? {
                // SAFETY: by the caller's promise.
                unsafe { body::<$crate::nn::cpu::simd::Neon<true>>($($arg),*) }
            }

            // SAFETY: by the caller's promise; an `InstructionSet` is only made where its instructions were found.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                {
                    if set.has_bf16() {
                        return avx512_bf16($($arg),*);
                    }
                    if set.is_avx512() {
                        return avx512($($arg),*);
                    }
                    if set.is_avx2() {
                        return avx2($($arg),*);
                    }
                }
                #[cfg(target_arch = "aarch64")]
                {
                    if set.has_bf16() {
                        return neon_bf16($($arg),*);
                    }
                    if set.is_neon() {
                        return body::<$crate::nn::cpu::simd::Neon<false>>($($arg),*);
                    }
                }
                body::<$crate::nn::cpu::simd::Portable>($($arg),*)
            }
        }
    };
}
pub(super) use vectorised;

/// Runs `compute` on every instruction set that this machine has, and asserts that the bits are the same.
#[cfg(test)]
pub fn assert_same_bits(compute: impl Fn(InstructionSet) -> Vec<f32>) {
    let bits = |set| compute(set).iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let all = InstructionSet::all();
    let baseline = bits(all[0]);
    for set in all {
        assert_eq!(bits(set), baseline, "{set:?}");
    }
}
