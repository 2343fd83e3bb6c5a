//! One function compiled for several sets of instructions, and the choice between them at run time.

/// A set of instructions that this machine was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has more than its baseline here"))]
enum Level {
    Baseline,
    Avx2,
    Avx512,
}

impl InstructionSet {
    /// The best that this machine has.
    #[inline]
    pub fn best() -> Self {
        Self([Level::Avx512, Level::Avx2].into_iter().find(|level| level.is_present()).unwrap_or(Level::Baseline))
    }

    /// All that this machine has.
    #[cfg(test)]
    pub fn all() -> Vec<Self> {
        [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|level| level.is_present()).map(Self).collect()
    }

    pub fn is_avx512(self) -> bool {
        self.0 == Level::Avx512
    }

    pub fn is_avx2(self) -> bool {
        self.0 == Level::Avx2
    }
}

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn is_present(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Baseline => true,
            Self::Avx2 => has!("avx2"),
            // avx512vl implies avx512f.
            Self::Avx512 => has!("avx512vl") && has!("avx512dq") && has!("avx512bw"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_present(self) -> bool {
        self == Self::Baseline
    }
}

/// Defines a function over slices that is compiled for several instruction sets and picks one at run time, and a
/// module of the same name whose `on` takes the instruction set to use.
///
/// Rust neither fuses nor reorders floating-point operations, so all versions give the same bits.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            $name::on($crate::nn::cpu::instruction_set::InstructionSet::best(), $($arg),*);
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
            pub fn on(set: $crate::nn::cpu::instruction_set::InstructionSet, $($arg: $ty),*) {
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

/// Runs `compute` on every instruction set that this machine has, and asserts that the bits are the same.
#[cfg(test)]
pub fn assert_same_bits(compute: impl Fn(InstructionSet) -> Vec<f32>) {
    let bits = |set| compute(set).iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let baseline = bits(InstructionSet(Level::Baseline));
    for set in InstructionSet::all() {
        assert_eq!(bits(set), baseline, "{set:?}");
    }
}
