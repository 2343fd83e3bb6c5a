//! One name for what checkpoints of different ages name otherwise.

use sd_rbee::checkpoint::{MappedTensors, clip_text_key, vae_key};
use sd_rbee::nn::weights::TensorSource;
use tempfile::tempdir;

use super::{Stored, file, write};
use crate::common::checkpoint_error;

#[test]
fn clip_names_lose_their_prefix_and_buffers() {
    let cases = [
        ("text_model.encoder.layers.0.mlp.fc1.weight", Some("encoder.layers.0.mlp.fc1.weight")),
        ("encoder.layers.0.mlp.fc1.weight", Some("encoder.layers.0.mlp.fc1.weight")),
        ("text_model.embeddings.position_ids", None),
        ("embeddings.position_ids", None),
        ("text_projection.weight", Some("text_projection.weight")),
    ];
    for (stored, want) in cases {
        assert_eq!(clip_text_key(stored).as_deref(), want, "{stored}");
    }
}

#[test]
fn old_vae_attention_gets_its_new_names() {
    let base = "decoder.mid_block.attentions.0";
    for (old, new) in [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")] {
        assert_eq!(vae_key(&format!("{base}.{old}.bias")), Some(format!("{base}.{new}.bias")));
        assert_eq!(vae_key(&format!("{base}.{new}.bias")), Some(format!("{base}.{new}.bias")));
    }
    for other in ["", "key", "a.key", "quant_conv.weight", "mid_block.value.weight"] {
        assert_eq!(vae_key(other).as_deref(), Some(other));
    }
}

#[test]
fn two_names_for_one_tensor_are_refused() {
    let folder = tempdir().expect("a folder");
    let tensors = ["text_model.a", "a", "embeddings.position_ids"].map(|name| Stored::f32(name, &[1], &[1.0]));
    let path = write(folder.path(), "a.safetensors", file(&tensors, 0));
    let open = || MappedTensors::open(std::slice::from_ref(&path)).expect("a file");
    let text = checkpoint_error(open().with_key_map(clip_text_key));
    assert!(text.contains("\"a\" and \"text_model.a\" are the same tensor"), "{text}");
    let kept = open().with_key_map(|name| (name != "a").then(|| name.into())).expect("one each");
    assert_eq!(kept.names(), ["embeddings.position_ids", "text_model.a"]);
}
