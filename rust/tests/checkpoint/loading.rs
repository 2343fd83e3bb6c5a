//! Files that are right give the values that were stored.

use candle_core::{DType, Device};
use half::{bf16, f16};
use proptest::prelude::*;
use sd_rbee::checkpoint::MappedTensors;
use sd_rbee::nn::weights::TensorSource;
use tempfile::tempdir;

use super::{Stored, file, write};
use crate::common::noise;

fn load(tensors: &MappedTensors, name: &str, dtype: DType) -> Vec<f32> {
    let tensor = tensors.load(name, dtype, &Device::Cpu).expect(name);
    assert_eq!(tensor.dtype(), dtype);
    assert_eq!(Some(tensor.dims().to_vec()), tensors.shape(name));
    tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1()).expect("values")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn round(dtype: DType, value: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

const DTYPES: [(&str, DType); 3] = [("F32", DType::F32), ("F16", DType::F16), ("BF16", DType::BF16)];

fn stored(dtype: &str, name: &str, shape: &[usize], values: &[f32]) -> Stored {
    match dtype {
        "F16" => Stored::f16(name, shape, values),
        "BF16" => Stored::bf16(name, shape, values),
        _ => Stored::f32(name, shape, values),
    }
}

/// Lengths around the blocks that conversion works in, at every alignment of the data.
#[test]
fn every_stored_dtype_loads_as_every_computed_one() {
    let folder = tempdir().expect("a folder");
    for (padding, count) in [0, 1, 2, 3, 5].into_iter().zip([1, 2047, 2049, 64 * 2048 + 3, 3 * 64 * 2048]) {
        let mut values = noise(count, padding as u64);
        values[0] = 70_000.0;
        values[count / 2] = 1e-7;
        for (from, stored_dtype) in DTYPES {
            let path = write(folder.path(), "a.safetensors", file(&[stored(from, "a", &[count], &values)], padding));
            let tensors = MappedTensors::open(&[path]).expect(from);
            assert_eq!(tensors.stored_dtype(), from.to_lowercase());
            for (_, dtype) in DTYPES {
                let want: Vec<f32> = values.iter().map(|value| round(dtype, round(stored_dtype, *value))).collect();
                assert_eq!(bits(&load(&tensors, "a", dtype)), bits(&want), "{from} as {dtype:?}, {count} elements");
            }
        }
    }
}

#[test]
fn scalars_and_empty_tensors_load() {
    let folder = tempdir().expect("a folder");
    let tensors = [Stored::f32("scalar", &[], &[3.5]), Stored::f32("empty", &[0, 4], &[])];
    let tensors = MappedTensors::open(&[write(folder.path(), "a.safetensors", file(&tensors, 0))]).expect("a file");
    assert_eq!(load(&tensors, "scalar", DType::F32), [3.5]);
    assert!(load(&tensors, "empty", DType::F32).is_empty());
    assert_eq!(tensors.stored_bytes(), 4);
}

#[test]
fn shards_are_one_source() {
    let folder = tempdir().expect("a folder");
    let one = write(folder.path(), "1.safetensors", file(&[Stored::f32("a", &[2], &[1.0, 2.0])], 0));
    let two = write(folder.path(), "2.safetensors", file(&[Stored::f16("b", &[1, 1], &[-0.5])], 0));
    let tensors = MappedTensors::open(&[one, two]).expect("two files");
    assert_eq!(tensors.names(), ["a", "b"]);
    assert_eq!(load(&tensors, "a", DType::F32), [1.0, 2.0]);
    assert_eq!(load(&tensors, "b", DType::F32), [-0.5]);
    assert_eq!(tensors.stored_dtype(), "f32");
}

proptest! {
    /// Rounding to half precision is to nearest, ties to even, at any bit pattern that is a number.
    #[test]
    fn conversion_rounds_like_the_half_crate(patterns in prop::collection::vec(any::<u32>(), 1..200)) {
        let values: Vec<f32> = patterns.into_iter().map(f32::from_bits).map(|x| if x.is_nan() { 0.0 } else { x }).collect();
        let folder = tempdir().expect("a folder");
        let bytes = file(&[Stored::f32("a", &[values.len()], &values)], 0);
        let tensors = MappedTensors::open(&[write(folder.path(), "a.safetensors", bytes)]).expect("a file");
        for (_, dtype) in DTYPES {
            let want: Vec<f32> = values.iter().map(|value| round(dtype, *value)).collect();
            prop_assert_eq!(bits(&load(&tensors, "a", dtype)), bits(&want));
        }
    }
}
