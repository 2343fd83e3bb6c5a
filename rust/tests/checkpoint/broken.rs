//! Files that are wrong: each is an [`Error::Checkpoint`](sd_rbee::Error) that names the file and the reason.

use std::fs::{self, OpenOptions};

use candle_core::{DType, Device};
use sd_rbee::checkpoint::MappedTensors;
use sd_rbee::nn::weights::TensorSource;
use tempfile::tempdir;

use super::{Stored, file, raw, write};
use crate::allocations::peak_of;
use crate::common::checkpoint_error;

const ENTRY: &str = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;

fn open(bytes: &[u8]) -> sd_rbee::Result<MappedTensors> {
    let folder = tempdir().expect("a folder");
    MappedTensors::open(&[write(folder.path(), "unet/model.safetensors", bytes)])
}

#[track_caller]
fn assert_refused(bytes: &[u8], reason: &str) {
    let text = checkpoint_error(open(bytes));
    assert!(text.starts_with("unet/model.safetensors: "), "{text}");
    assert!(text.contains(reason), "{reason:?} is not in {text:?}");
}

#[test]
fn files_cut_short_say_so() {
    let whole = file(&[Stored::f32("a", &[4], &[1.0; 4])], 0);
    assert_refused(&[], "is empty");
    assert_refused(&whole[..7], "too short");
    assert_refused(&whole[..8], "truncated");
    assert_refused(&whole[..40], "truncated");
    assert_refused(&whole[..whole.len() - 1], "truncated");
    assert_refused(&[&whole[..], &[0]].concat(), "its header does not describe");
}

#[test]
fn headers_that_are_none_are_refused_without_being_allocated() {
    for length in [1u64 << 63, u64::MAX, 100_000_001] {
        let bytes = [&length.to_le_bytes()[..], &[b'{'; 100]].concat();
        let (peak, ()) = peak_of(|| assert_refused(&bytes, "allowed are at most 100000000"));
        assert!(peak < 1 << 20, "{peak} bytes for a header of {length}");
    }
    assert_refused(&raw("", &[]), "header is not valid");
    assert_refused(&raw("hello", &[]), "header is not valid");
    assert_refused(&raw("[]", &[]), "header is not valid");
    assert_refused(&raw("null", &[]), "header is not valid");
    assert_refused(&raw(&"[".repeat(100_000), &[]), "header is not valid");
    assert_refused(&[&8u64.to_le_bytes()[..], &[0xff; 8]].concat(), "header");
    assert_refused(b"PK\x03\x04 a zip file, as pickled checkpoints are", "is not a safetensors file");
}

#[test]
fn offsets_shapes_and_dtypes_must_agree() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        raw(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#), &[0; 8])
    };
    for (dtype, shape, offsets) in [
        ("F32", "[2]", "[0,12]"),
        ("F32", "[2]", "[8,0]"),
        ("F32", "[2]", "[1,9]"),
        ("F32", "[2]", "[8,16]"),
        ("F32", "[3]", "[0,8]"),
        ("F32", "[2]", "[0,18446744073709551615]"),
        ("F32", "[2]", "[0,18446744073709551616]"),
        ("F32", "[2]", "[-8,0]"),
        ("F32", "[2]", "[0,8,16]"),
        ("F32", "[2]", "[0]"),
        ("F32", "[9223372036854775808,2]", "[0,8]"),
        ("F32", "[4611686018427387904]", "[0,8]"),
        ("F32", "[-2]", "[0,8]"),
        ("F32", "[2.0]", "[0,8]"),
        ("F32", "2", "[0,8]"),
        ("F3", "[2]", "[0,8]"),
        ("F16", "[2]", "[0,8]"),
    ] {
        let text = checkpoint_error(open(&entry(dtype, shape, offsets)));
        assert!(text.starts_with("unet/model.safetensors: "), "{dtype} {shape} {offsets}: {text}");
    }
    open(&entry("F32", "[2]", "[0,8]")).expect("agrees");
}

#[test]
fn tensors_must_not_overlap_or_leave_holes() {
    let two = |offsets: &str, data: usize| {
        raw(&format!(r#"{{"a":{ENTRY},"b":{}}}"#, ENTRY.replace("[0,4]", offsets)), &vec![0; data])
    };
    for (offsets, data) in [("[0,4]", 4), ("[2,6]", 6), ("[8,12]", 12)] {
        checkpoint_error(open(&two(offsets, data)));
    }
    open(&two("[4,8]", 8)).expect("one after the other");
}

#[test]
fn a_name_may_occur_once() {
    assert_refused(&raw(&format!(r#"{{"a":{ENTRY},"a":{ENTRY}}}"#), &[0; 4]), "\"a\" occurs twice");
    let folder = tempdir().expect("a folder");
    let bytes = file(&[Stored::f32("a", &[1], &[1.0])], 0);
    let paths = ["1.safetensors", "2.safetensors"].map(|name| write(folder.path(), name, &bytes));
    assert!(checkpoint_error(MappedTensors::open(&paths)).contains("\"a\" is in"));
}

#[test]
fn other_dtypes_are_refused_when_they_are_needed() {
    let folder = tempdir().expect("a folder");
    let tensors = ["I64", "F64", "U8", "BOOL", "F8_E4M3", "C64"].map(|dtype| {
        let size = match dtype {
            "I64" | "F64" | "C64" => 8,
            _ => 1,
        };
        Stored::new(dtype, dtype, &[1], vec![0; size])
    });
    let path = write(folder.path(), "unet/model.safetensors", file(&tensors, 0));
    let source = MappedTensors::open(&[path]).expect("the header is right");
    for Stored { name, .. } in &tensors {
        let text = checkpoint_error(source.load(name, DType::F32, &Device::Cpu));
        let want = format!("the tensor {name:?} is {name}, only F32, F16 and BF16 can be used");
        assert_eq!(text, format!("unet/model.safetensors: {want}"));
    }
    checkpoint_error(source.load("absent", DType::F32, &Device::Cpu));
    checkpoint_error(source.load("U8", DType::U8, &Device::Cpu));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempdir().expect("a folder");
    let directory = folder.path().join("model.safetensors");
    fs::create_dir(&directory).expect("a folder");
    assert!(checkpoint_error(MappedTensors::open(&[directory])).contains("is not a file"));
    let absent = folder.path().join("absent.safetensors");
    assert!(checkpoint_error(MappedTensors::open(&[absent])).contains("there is no such file"));
}

/// Reading on would end the process with SIGBUS.
#[cfg(unix)]
#[test]
fn a_file_that_was_shortened_after_it_was_mapped_is_an_error() {
    let folder = tempdir().expect("a folder");
    let values = vec![1f32; 1 << 16];
    let path = write(folder.path(), "a.safetensors", file(&[Stored::f32("a", &[1 << 16], &values)], 0));
    let tensors = MappedTensors::open(std::slice::from_ref(&path)).expect("a file");
    tensors.load("a", DType::F32, &Device::Cpu).expect("whole");
    OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(4096)).expect("shortened");
    let text = checkpoint_error(tensors.load("a", DType::F32, &Device::Cpu));
    assert!(text.contains("was shortened to 4096 bytes"), "{text}");
}
