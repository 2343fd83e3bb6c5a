//! Stable Diffusion on Hugging Face Candle: the engine of the Python package `sd_rbee`.
//!
//! A [`pipeline::Pipeline`] is loaded from a folder in diffusers' layout and draws pictures that equal diffusers' for
//! the same weights, prompt and seed. Modules import only from those above them in this list.

pub mod error;

pub mod allocator;
pub mod instruction_set;
pub mod threads;

pub mod device;
mod files;
pub mod image;
pub mod prompt_syntax;
pub mod size_conditioning;
pub mod step_saving;

pub mod params;
pub mod progress;

pub mod rng;

pub mod nn;

pub mod models;
pub mod schedulers;

pub mod checkpoint;
pub mod family;
pub mod tokenizer;

pub mod reference;

pub mod pipeline;

#[cfg(feature = "python")]
mod bindings;

pub use error::{Error, Result};
