//! The CPU kernels against plain loops in f64, and against themselves on other numbers of threads.

mod attention;
mod convolution;
mod elementwise;
mod linear;
mod misfits;
mod norms;
mod threads;

use candle_core::{Device, Tensor};

use crate::common::noise;

/// A tensor of noise, and its values.
fn random(shape: &[usize], seed: u64) -> (Tensor, Vec<f64>) {
    let values = noise(shape.iter().product(), seed);
    let tensor = Tensor::from_slice(&values, shape, &Device::Cpu).expect("a tensor");
    (tensor, values.into_iter().map(f64::from).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values")
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
