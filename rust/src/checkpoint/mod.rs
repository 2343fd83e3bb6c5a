//! Checkpoints on disk: the diffusers folder, and its safetensors files mapped into memory.

mod component;
mod convert;
mod folder;
mod header;
mod keys;
mod mapped;
mod random;

pub use component::ComponentFolder;
pub use folder::ModelFolder;
pub use keys::{clip_text_key, vae_key};
pub use mapped::MappedTensors;
pub use random::RandomTensors;
