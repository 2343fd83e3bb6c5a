//! The compute seam: what the models are made of.
pub mod weights;
