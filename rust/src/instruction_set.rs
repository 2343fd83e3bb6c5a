//! Sets of instructions that a machine may have, and the choice between them at run time.

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The environment variable that forces an instruction set, by the name that [`InstructionSet::name`] gives.
pub const VARIABLE: &str = "SD_RBEE_CPU";

/// A set of instructions that this machine was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Portable,
    Avx2,
    Avx512,
    Avx512Vnni,
    Avx512Bf16,
    Neon,
    NeonDotprod,
    NeonBf16,
}

/// From the first to the last that may be the best.
const LEVELS: [Level; 8] = [
    Level::Portable,
    Level::Avx2,
    Level::Avx512,
    Level::Avx512Vnni,
    Level::Avx512Bf16,
    Level::Neon,
    Level::NeonDotprod,
    Level::NeonBf16,
];

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
        LEVELS.into_iter().filter(|level| level.is_present()).map(Self).collect()
    }

    /// `portable`; on x86-64 also `avx2`, `avx512`, `avx512-vnni` or `avx512-bf16`; on arm `neon`, `neon-dotprod` or
    /// `neon-bf16`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512-vnni",
            Level::Avx512Bf16 => "avx512-bf16",
            Level::Neon => "neon",
            Level::NeonDotprod => "neon-dotprod",
            Level::NeonBf16 => "neon-bf16",
        }
    }

    /// Whether products of bf16 are faster than those of f32: AVX-512 BF16 may be used, and VNNI; on arm BF16, and I8MM.
    pub fn has_bf16(self) -> bool {
        matches!(self.0, Level::Avx512Bf16 | Level::NeonBf16)
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

    /// Whether NEON may be used.
    pub fn is_neon(self) -> bool {
        matches!(self.0, Level::Neon | Level::NeonDotprod | Level::NeonBf16)
    }

    /// Whether arm's dot products of int8 may be used.
    pub fn has_dotprod(self) -> bool {
        matches!(self.0, Level::NeonDotprod | Level::NeonBf16)
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
            Self::Neon | Self::NeonDotprod | Self::NeonBf16 => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_present(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Self::Portable => true,
            Self::Neon => has!("neon"),
            Self::NeonDotprod => Self::Neon.is_present() && has!("dotprod"),
            Self::NeonBf16 => Self::NeonDotprod.is_present() && has!("bf16") && has!("i8mm"),
            Self::Avx2 | Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_present(self) -> bool {
        self == Self::Portable
    }
}

#[cfg(target_arch = "x86_64")]
fn is_by_intel() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}
