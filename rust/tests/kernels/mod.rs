//! The CPU kernels against plain loops in f64, on every instruction set, and against themselves on other numbers of
//! threads.

mod attention;
mod convolution;
mod elementwise;
mod instruction_sets;
mod linear;
mod misfits;
mod norms;
mod seam;
mod threads;

use candle_core::{Device, Tensor};
use half::bf16;
use sd_rbee::nn::cpu::Products;

use crate::common::noise;

const PRODUCTS: [Products; 2] = [Products::F32, Products::Bf16];

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
}

/// A tensor of noise, and its values.
fn random(shape: &[usize], seed: u64) -> (Tensor, Vec<f64>) {
    let values = noise(shape.iter().product(), seed);
    (tensor(shape, &values), values.into_iter().map(f64::from).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values")
}

fn in_f64(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// The numbers that are multiplied where `values` are given.
fn as_multiplied(products: Products, values: &[f64]) -> Vec<f64> {
    match products {
        Products::F32 => values.to_vec(),
        Products::Bf16 => values.iter().map(|value| bf16::from_f32(*value as f32).to_f64()).collect(),
        Products::Int8 => quantised(values, values.len()),
    }
}

/// Rows of `width` numbers, each number the nearest of 255 steps between plus and minus its row's largest.
fn quantised(values: &[f64], width: usize) -> Vec<f64> {
    let of_row = |row: &[f64]| {
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs() as f32));
        let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let nearest = |value: &f64| f64::from((*value as f32 * factor).round_ties_even());
        row.iter().map(|value| nearest(value) * f64::from(largest) / 127.0).collect::<Vec<_>>()
    };
    values.chunks(width.max(1)).flat_map(of_row).collect()
}

/// What f32 sums of `depth` products of numbers in -1 to 1 may lose.
fn tolerance(depth: usize) -> f64 {
    1e-6 * (depth as f64).sqrt().max(1.0)
}

#[track_caller]
fn assert_close(got: &Tensor, shape: &[usize], want: &[f64], tolerance: f64) {
    assert_eq!(got.dims(), shape);
    let got = values(got);
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= tolerance * want.abs().max(1.0),
            "element {index} is {got}, should be {want}: off by {error:e}"
        );
    }
}
