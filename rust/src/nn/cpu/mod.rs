//! Kernels for the CPU, one file an operation. Activations are f32; products may be of narrower numbers.
//!
//! Every kernel cuts its sums by the shape alone, and the number of threads decides only who computes which outputs, so that
//! a result has the same bits on any number of threads.

mod activation;
mod attention;
mod buffer;
mod conv2d;
mod dense_rows;
mod depth;
mod dispatch;
mod kernel;
mod linear;
mod math;
mod norm;
mod packed;
mod peak;
mod product;
mod simd;
mod softmax;
mod tensors;
mod winograd;

pub use activation::{Activation, activate};
pub use attention::Attention;
pub use conv2d::{Conv2d, Conv2dExtras, Conv2dGeometry, Method};
pub use kernel::Products;
pub use linear::{Geglu, Linear};
pub use norm::{GroupMoments, GroupNorm, LayerNorm};
pub use peak::peak_flops;
pub use tensors::{Values, channels_first, channels_last, takes};
