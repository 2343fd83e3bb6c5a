//! The compute seam: everything the models are made of.
//!
//! The models say what they need and never ask where they run. On the CPU in f32 the layers use the kernels of
//! [`cpu`]; on every other device they use candle's.

mod activation;
mod attention;
mod conv2d;
pub mod cpu;
mod linear;
mod norm;
mod time_embedding;
mod upsample;
pub mod weights;

pub use activation::{Activation, geglu};
pub use attention::{AttentionShape, attention};
pub use conv2d::{Conv2d, Conv2dConfig};
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use time_embedding::{TimeEmbedding, TimestepEmbedding};
pub use upsample::upsample_nearest2x;
pub use weights::Weights;
