//! Stable Diffusion on Hugging Face Candle: the engine of the Python package `sd_rbee`.

pub mod checkpoint;
pub mod error;
mod files;
pub mod models;
pub mod nn;
pub mod progress;
pub mod tokenizer;

pub use error::{Error, Result};
