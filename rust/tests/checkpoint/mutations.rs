//! Whatever bytes a file has, it is opened or refused, never a panic.

use candle_core::{DType, Device};
use proptest::prelude::*;
use proptest::sample::Index;
use sd_rbee::Error;
use sd_rbee::checkpoint::{MappedTensors, ModelFolder, clip_text_key};
use sd_rbee::nn::weights::TensorSource;
use tempfile::tempdir;

use super::{Stored, file, raw, write};

/// Opens the file and loads all of it.
fn read(bytes: &[u8]) -> sd_rbee::Result<()> {
    let folder = tempdir().expect("a folder");
    let path = write(folder.path(), "a.safetensors", bytes);
    let tensors = MappedTensors::open(&[path])?.with_key_map(clip_text_key)?;
    for name in tensors.names() {
        tensors.load(&name, DType::F32, &Device::Cpu)?;
    }
    Ok(())
}

fn is_fine(result: &sd_rbee::Result<()>) -> bool {
    matches!(result, Ok(()) | Err(Error::Checkpoint(_)))
}

fn valid() -> Vec<u8> {
    let names = ["text_model.a", "b.weight", "embeddings.position_ids"];
    let tensors = names.map(|name| Stored::f16(name, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    file(&tensors, 3)
}

/// JSON that is nearly a header.
fn header() -> impl Strategy<Value = String> {
    let number = prop_oneof![0u64..16, any::<u64>()].prop_map(|number| number.to_string());
    let list = prop::collection::vec(number, 0..4).prop_map(|numbers| format!("[{}]", numbers.join(",")));
    let dtype = prop::sample::select(vec!["F32", "F16", "BF16", "I64", "F4", "U8", "X"]);
    let entry = (dtype, list.clone(), list).prop_map(|(dtype, shape, offsets)| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    });
    let name = prop_oneof!["[abc]", "__metadata__", "\\PC{0,4}"].prop_map(|name| serde_json::to_string(&name).unwrap());
    prop::collection::vec((name, entry), 0..5).prop_map(|entries| {
        let entries: Vec<_> = entries.into_iter().map(|(name, entry)| format!("{name}:{entry}")).collect();
        format!("{{{}}}", entries.join(","))
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(is_fine(&read(&bytes)));
    }

    #[test]
    fn any_header_over_any_data(header in header(), data in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(is_fine(&read(&raw(&header, &data))));
    }

    #[test]
    fn any_change_of_a_valid_file(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<Index>()),
        doubled in prop::option::of((any::<Index>(), any::<Index>())),
    ) {
        let mut bytes = valid();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some((from, to)) = doubled {
            let part = bytes[from.index(bytes.len())..].to_vec();
            let to = to.index(bytes.len());
            bytes.splice(to..to, part);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert!(is_fine(&read(&bytes)));
    }

    #[test]
    fn any_model_index(text in prop_oneof!["\\PC{0,200}", r#"\{("_class_name"|"unet"): ?("a"|1|null|\["x", ?"y"\])\}"#]) {
        let folder = tempdir().expect("a folder");
        write(folder.path(), "model_index.json", text);
        let opened = ModelFolder::open(folder.path());
        prop_assert!(matches!(opened, Ok(_) | Err(Error::Checkpoint(_))));
    }

    #[test]
    fn any_shard_index(name in "\\PC{0,12}|\\.\\./a\\.safetensors|/etc/passwd\\.safetensors") {
        let folder = tempdir().expect("a folder");
        write(folder.path(), "model_index.json", r#"{"_class_name": "A", "unet": ["a", "b"]}"#);
        let index = serde_json::json!({"weight_map": {"a": name}});
        write(folder.path(), "unet/model.safetensors.index.json", index.to_string());
        let files = ModelFolder::open(folder.path()).expect("a folder").weight_files("unet");
        prop_assert!(matches!(files, Err(Error::Checkpoint(_))), "{:?}", files);
    }
}

#[test]
fn the_file_that_is_changed_is_valid() {
    read(&valid()).expect("valid");
}
