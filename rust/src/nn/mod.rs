//! The compute seam: everything the models are made of.
//!
//! The models say what they need and never ask where they run. On the CPU the layers use the kernels of [`cpu`]; on every
//! other device they use candle's.

mod activation;
mod attention;
mod conv2d;
pub mod cpu;
mod group_statistics;
mod layout;
mod linear;
mod norm;
mod time_embedding;
pub mod weights;

pub use activation::Activation;
pub use attention::Attention;
pub use conv2d::{Conv2d, Conv2dConfig, PointwiseConv2d};
pub use group_statistics::{Core, GroupStatistics};
pub use layout::{joined, to_feature_map, to_sequence};
pub use linear::{Geglu, Linear};
pub use norm::{GroupNorm, LayerNorm};
pub use time_embedding::{TimeEmbedding, TimestepEmbedding};
pub use weights::Weights;
