//! Whose networks a pipeline has.

use std::str::FromStr;

use crate::error::{Error, Result};

/// Whose networks compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// This crate's.
    Native,
    /// candle-transformers', for comparison; see [`crate::reference`].
    Candle,
}

impl Engine {
    /// The name that [`Engine::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Candle => "candle",
        }
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "native" => Ok(Self::Native),
            "candle" => Ok(Self::Candle),
            _ => Err(Error::invalid("engine", name, "native or candle")),
        }
    }
}
