//! Stable Diffusion on Hugging Face Candle: the engine of the Python package `sd_rbee`.

pub mod error;
pub mod models;
pub mod nn;
pub mod progress;

pub use error::{Error, Result};
