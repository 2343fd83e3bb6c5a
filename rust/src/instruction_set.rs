//! Sets of instructions that a machine may have, and the choice between them at run time.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The environment variable that forces an instruction set, by the name that [`InstructionSet::name`] gives.
pub const VARIABLE: &str = "SD_RBEE_CPU";

/// A set of instructions that this machine was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has more than its baseline here"))]
enum Level {
    Portable,
    Avx2,
    Avx512,
    Avx512Vnni,
    Avx512Bf16,
}

impl InstructionSet {
    /// The one that [`VARIABLE`] names, else the best that this machine has.
    #[inline]
    pub fn best() -> Self {
        static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::forced().ok().flatten().unwrap_or_else(Self::widest))
    }

    /// Checks [`VARIABLE`].
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if it names what is not known or not there.
    pub fn check() -> Result<()> {
        Self::forced().map(drop)
    }

    fn forced() -> Result<Option<Self>> {
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return Ok(None) };
        let all = Self::all();
        match all.iter().find(|set| name == set.name()) {
            Some(set) => Ok(Some(*set)),
            None => {
                let names: Vec<_> = all.iter().map(|set| set.name()).collect();
                Err(Error::invalid(VARIABLE, name.display(), format!("{} on this machine", names.join(", "))))
            }
        }
    }

    fn widest() -> Self {
        Self::all().pop().unwrap_or(Self(Level::Portable))
    }

    /// All that this machine has, the best last.
    pub fn all() -> Vec<Self> {
        let levels = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Vnni, Level::Avx512Bf16];
        levels.into_iter().filter(|level| level.is_present()).map(Self).collect()
    }

    /// `portable`, `avx2`, `avx512`, `avx512-vnni` or `avx512-bf16`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512-vnni",
            Level::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// Whether AVX-512 BF16 may be used, and VNNI: products of bf16 are then faster than those of f32.
    pub fn has_bf16(self) -> bool {
        self.0 == Level::Avx512Bf16
    }

    /// Whether AVX-512 VNNI may be used: products of int8 are then faster than those of f32 and bf16.
    pub fn has_vnni(self) -> bool {
        matches!(self.0, Level::Avx512Vnni | Level::Avx512Bf16)
    }

    /// Whether AVX-512 F, VL, DQ and BW may be used.
    pub fn is_avx512(self) -> bool {
        matches!(self.0, Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16)
    }

    /// Whether AVX2 and FMA may be used, but nothing wider.
    pub fn is_avx2(self) -> bool {
        self.0 == Level::Avx2
    }
}

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn is_present(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Portable => true,
            Self::Avx2 => has!("avx2") && has!("fma"),
            // avx512vl implies avx512f.
            Self::Avx512 => has!("avx512vl") && has!("avx512dq") && has!("avx512bw"),
            Self::Avx512Vnni => Self::Avx512.is_present() && has!("avx512vnni"),
            // Intel's processors take twice as long for an instruction of BF16 as for the two of f32 that do the same.
            Self::Avx512Bf16 => Self::Avx512Vnni.is_present() && has!("avx512bf16") && !is_by_intel(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_present(self) -> bool {
        self == Self::Portable
    }
}

#[cfg(target_arch = "x86_64")]
fn is_by_intel() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}
