//! Everything that does not fit is named in one error.

use candle_core::{DType, Device};
use sd_rbee::checkpoint::MappedTensors;
use sd_rbee::nn::weights::Loaded;
use sd_rbee::nn::{Conv2d, Conv2dConfig, GroupNorm, Linear, Weights};
use tempfile::tempdir;

use super::{Stored, file, write};
use crate::common::checkpoint_error;

/// A network of one layer of each kind, built from a file of `tensors`.
fn build(tensors: &[Stored]) -> sd_rbee::Result<Loaded> {
    let folder = tempdir().expect("a folder");
    let path = write(folder.path(), "unet/model.safetensors", file(tensors, 0));
    let weights = Weights::new(Box::new(MappedTensors::open(&[path])?), DType::F32, &Device::Cpu);
    Linear::new(&weights.pp("linear"), 2, 3)?;
    Conv2d::new(&weights.pp("conv"), Conv2dConfig::pointwise(2, 3))?;
    GroupNorm::new(&weights.pp("norm"), 1, 4, 1e-5)?;
    weights.finish("unet")
}

fn zeros(name: &str, shape: &[usize]) -> Stored {
    Stored::f16(name, shape, &vec![0.0; shape.iter().product()])
}

fn fitting() -> Vec<Stored> {
    vec![
        zeros("linear.weight", &[3, 2]),
        zeros("linear.bias", &[3]),
        zeros("conv.weight", &[3, 2, 1, 1]),
        zeros("conv.bias", &[3]),
        zeros("norm.weight", &[4]),
        zeros("norm.bias", &[4]),
    ]
}

#[test]
fn what_fits_is_counted_as_it_is_packed() {
    // Two rows of sixteen columns, the least that a panel has, and what is not packed.
    let (packed, elements) = (2 * 16, 3 + 3 + 4 + 4);
    assert_eq!(build(&fitting()).expect("fits"), Loaded { tensors: 6, bytes: (2 * packed + elements) * 4 });
}

#[test]
fn linear_layers_and_pointwise_convolutions_may_be_stored_as_each_other() {
    let mut tensors = fitting();
    tensors[0] = zeros("linear.weight", &[3, 2, 1, 1]);
    tensors[2] = zeros("conv.weight", &[3, 2]);
    build(&tensors).expect("fits");
}

#[test]
fn missing_misshapen_unusable_and_unexpected_tensors_are_named_together() {
    let tensors = [
        zeros("linear.weight", &[2, 3]),
        zeros("conv.weight", &[3, 2, 3, 3]),
        Stored::new("conv.bias", "I64", &[3], vec![0; 24]),
        Stored::new("norm.weight", "F64", &[4], vec![0; 32]),
        zeros("norm.bias", &[4, 1]),
        zeros("extra.b", &[1]),
        zeros("extra.a", &[0]),
    ];
    let text = checkpoint_error(build(&tensors));
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "unet: 8 tensors do not fit its configuration:",
            "missing: linear.bias [3]",
            "misshapen: linear.weight is [2, 3], the configuration asks for [3, 2]",
            "misshapen: conv.weight is [3, 2, 3, 3], the configuration asks for [3, 2, 1, 1]",
            "unet/model.safetensors: the tensor \"conv.bias\" is I64, only F32, F16 and BF16 can be used",
            "unet/model.safetensors: the tensor \"norm.weight\" is F64, only F32, F16 and BF16 can be used",
            "misshapen: norm.bias is [4, 1], the configuration asks for [4]",
            "unexpected: extra.a",
            "unexpected: extra.b",
        ]
    );
}
