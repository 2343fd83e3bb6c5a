//! What the crate promises, tested from outside.

mod allocations;
mod checkpoint;
mod common;
mod kernels;
mod models;
mod pipeline;
mod schedulers;
mod single_file;
mod tokenizer;
