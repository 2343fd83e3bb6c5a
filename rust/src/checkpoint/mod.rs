//! Checkpoints on disk: the diffusers folder and the single file, their tensors mapped into memory.

mod component;
mod convert;
mod folder;
mod header;
mod keys;
mod mapped;
mod model;
mod names;
mod random;
mod single_file;

pub use component::ComponentFolder;
pub use folder::ModelFolder;
pub use keys::{clip_text_key, vae_key};
pub use mapped::MappedTensors;
pub use model::ModelFiles;
pub use random::RandomTensors;
pub use single_file::{SingleFile, VaeFile};
