//! The text encoders' names: transformers' CLIP with a prefix, and OpenCLIP's own, as diffusers'
//! `convert_ldm_clip_checkpoint` and `convert_open_clip_checkpoint` read them.

use crate::checkpoint::MappedTensors;
use crate::checkpoint::names::{Layers, Names};

const OPEN_CLIP_LAYER: Layers = &[
    ("ln_1", "layer_norm1"),
    ("attn.in_proj_weight", "self_attn.q_proj.weight"),
    ("attn.in_proj_weight", "self_attn.k_proj.weight"),
    ("attn.in_proj_weight", "self_attn.v_proj.weight"),
    ("attn.in_proj_bias", "self_attn.q_proj.bias"),
    ("attn.in_proj_bias", "self_attn.k_proj.bias"),
    ("attn.in_proj_bias", "self_attn.v_proj.bias"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];
const TRANSFORMERS: [&str; 3] = ["embeddings", "encoder", "final_layer_norm"];
/// Layers of the encoder that Stable Diffusion 2 was trained with, of the 24 that OpenCLIP-H has.
const V2_LAYERS: usize = 23;

/// The names of a text encoder under `prefix` that is named as transformers does, before or since its version 5.
pub(super) fn clip(tensors: &MappedTensors, prefix: &str) -> Names {
    let mut names = Names::new(prefix);
    let wrapped = tensors.any_under(&format!("{prefix}text_model."));
    for module in TRANSFORMERS {
        names.module(if wrapped { format!("text_model.{module}") } else { module.to_string() }, module, &[]);
    }
    for rider in ["text_model.embeddings.position_ids", "embeddings.position_ids", "text_projection", "logit_scale"] {
        names.leave_out(rider);
    }
    names
}

/// The names of a text encoder under `prefix` that is named as OpenCLIP does.
///
/// Stable Diffusion 2 takes the state before the last layer: `penultimate` leaves that layer and the projection behind it
/// out, where they are there.
pub(super) fn open_clip(tensors: &MappedTensors, prefix: &str, penultimate: bool) -> Names {
    let any = |module: &str| tensors.any_under(&format!("{prefix}{module}"));
    let mut names = Names::new(prefix);
    for (stored, canonical) in [
        ("token_embedding", "embeddings.token_embedding"),
        ("positional_embedding", "embeddings.position_embedding.weight"),
        ("ln_final", "final_layer_norm"),
    ] {
        names.module(stored, canonical, &[]);
    }
    for rider in ["logit_scale", "attn_mask"] {
        names.leave_out(rider);
    }
    let stored = (0..).take_while(|layer| any(&format!("transformer.resblocks.{layer}."))).count();
    let layers = match stored {
        _ if !penultimate => stored,
        // Files that were made from diffusers' folder have 23, and no projection.
        V2_LAYERS => V2_LAYERS,
        _ if stored > V2_LAYERS || any("text_projection") => stored.saturating_sub(1),
        _ => stored,
    };
    for layer in 0..layers {
        names.module(format!("transformer.resblocks.{layer}"), format!("encoder.layers.{layer}"), OPEN_CLIP_LAYER);
    }
    if penultimate {
        names.leave_out("text_projection");
        (layers..stored).for_each(|layer| names.leave_out(format!("transformer.resblocks.{layer}")));
    } else {
        names.module("text_projection", "text_projection.weight", &[]);
        names.transpose("text_projection.weight");
    }
    names
}
