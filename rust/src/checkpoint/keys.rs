//! The names that checkpoints of different ages give to the same tensor, made one.

/// The canonical name of a CLIP text encoder's tensor: without the `text_model.` prefix that transformers before 5
/// writes. `None` for buffers that are recomputed and not weights (`embeddings.position_ids`).
pub fn clip_text_key(stored: &str) -> Option<String> {
    let name = stored.strip_prefix("text_model.").unwrap_or(stored);
    (name != "embeddings.position_ids").then(|| name.to_string())
}

/// The canonical name of a VAE's tensor: the attention's projections as diffusers names them since 0.15
/// (`to_q`, `to_k`, `to_v`, `to_out.0`), where older checkpoints have `query`, `key`, `value` and `proj_attn`.
///
/// The older ones may also hold them as 1x1 convolutions, `[C, C, 1, 1]` for `[C, C]`; see
/// [`Weights::get_reshaped`](crate::nn::weights::Weights::get_reshaped).
pub fn vae_key(stored: &str) -> Option<String> {
    Some(renamed_attention(stored).unwrap_or_else(|| stored.to_string()))
}

fn renamed_attention(stored: &str) -> Option<String> {
    let (path, parameter) = stored.rsplit_once('.')?;
    let (path, layer) = path.rsplit_once('.')?;
    let layer = match layer {
        "query" => "to_q",
        "key" => "to_k",
        "value" => "to_v",
        "proj_attn" => "to_out.0",
        _ => return None,
    };
    path.contains(".attentions.").then(|| format!("{path}.{layer}.{parameter}"))
}
