//! The published models' configurations are taken, and ask for as many parameters as the published models have.

use sd_rbee::models::{AutoencoderKlConfig, ClipTextConfig, UNet2DConditionConfig};
use serde_json::{Value, json};

use super::{clip, missed, unet, vae};

pub fn unet_v1_5() -> Value {
    json!({
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "center_input_sample": false,
        "flip_sin_to_cos": true, "freq_shift": 0, "act_fn": "silu", "norm_eps": 1e-5, "norm_num_groups": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "downsample_padding": 1,
        "mid_block_scale_factor": 1, "cross_attention_dim": 768, "attention_head_dim": 8,
    })
}

pub fn vae_v1_5() -> Value {
    json!({
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
        "block_out_channels": [128, 256, 512, 512], "act_fn": "silu", "sample_size": 512,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
    })
}

pub fn clip_v1_5() -> Value {
    json!({
        "vocab_size": 49_408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    })
}

pub fn with(mut config: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

fn unet_parameters(config: &Value) -> usize {
    let config = UNet2DConditionConfig::from_json(config).expect("a published model");
    missed(unet(&config)).values().map(|shape| shape.iter().product::<usize>()).sum()
}

fn clip_parameters(config: &Value) -> usize {
    let config = ClipTextConfig::from_json("text_encoder", config).expect("a published model");
    missed(clip(&config)).values().map(|shape| shape.iter().product::<usize>()).sum()
}

#[test]
fn stable_diffusion_1_5() {
    assert_eq!(unet_parameters(&unet_v1_5()), 859_520_964);
    assert_eq!(clip_parameters(&clip_v1_5()), 123_060_480);
    let config = AutoencoderKlConfig::from_json(&vae_v1_5()).expect("a published model");
    let parameters: usize = missed(vae(&config)).values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!((parameters, config.factor()), (83_653_863, 8));
}

pub fn unet_v2_1() -> Value {
    let changes = json!({
        "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": true, "upcast_attention": true, "dual_cross_attention": false,
        "only_cross_attention": false, "num_class_embeds": null,
    });
    with(unet_v1_5(), changes)
}

pub fn clip_v2_1() -> Value {
    let changes = json!({
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
        "hidden_act": "gelu",
    });
    with(clip_v1_5(), changes)
}

#[test]
fn stable_diffusion_2_1() {
    assert_eq!(unet_parameters(&unet_v2_1()), 865_910_724);
    assert_eq!(clip_parameters(&clip_v2_1()), 340_387_840);
}

pub fn unet_xl() -> Value {
    let changes = json!({
        "sample_size": 128, "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    });
    with(unet_v1_5(), changes)
}

pub fn clip_xl_2() -> Value {
    let changes = json!({
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
        "hidden_act": "gelu", "projection_dim": 1280, "eos_token_id": 2,
    });
    with(clip_v1_5(), changes)
}

#[test]
fn stable_diffusion_xl() {
    assert_eq!(unet_parameters(&unet_xl()), 2_567_463_684);
    let config = ClipTextConfig::with_projection("text_encoder_2", &clip_xl_2()).expect("a published model");
    let parameters: usize = missed(clip(&config)).values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(parameters, 694_659_840);
}

#[test]
fn pooled_text_needs_its_widths() {
    for (key, value) in [
        ("addition_time_embed_dim", json!(255)),
        ("addition_time_embed_dim", Value::Null),
        ("projection_class_embeddings_input_dim", json!(1536)),
        ("projection_class_embeddings_input_dim", Value::Null),
        ("addition_embed_type", json!("image")),
    ] {
        let changed = with(unet_xl(), json!({key: value}));
        let text = crate::common::checkpoint_error(UNet2DConditionConfig::from_json(&changed));
        assert!(text.starts_with("unet: ") && text.contains(key), "{key}: {text}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (key, value) in [
        ("class_embed_type", json!("timestep")),
        ("num_class_embeds", json!(10)),
        ("encoder_hid_dim", json!(4096)),
        ("time_cond_proj_dim", json!(256)),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("act_fn", json!("gelu")),
        ("conv_in_kernel", json!(5)),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("mid_block_scale_factor", json!(0.5)),
        ("only_cross_attention", json!(true)),
        ("cross_attention_dim", json!([768, 768])),
        ("down_block_types", json!(["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"])),
        ("norm_num_groups", json!(48)),
        ("attention_head_dim", json!(7)),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!(vec![320; 9])),
        ("layers_per_block", json!([2, 2, 2])),
        ("layers_per_block", json!(0)),
        ("norm_eps", json!("x")),
    ] {
        let changed = with(unet_v1_5(), json!({key: value}));
        let text = crate::common::checkpoint_error(UNet2DConditionConfig::from_json(&changed));
        assert!(text.starts_with("unet: ") && text.contains(key), "{key}: {text}");
    }
    for (key, value) in [
        ("shift_factor", json!(0.0609)),
        ("latents_mean", json!([0.0])),
        ("down_block_types", json!(vec!["AttnDownEncoderBlock2D"; 4])),
        ("in_channels", json!(1)),
        ("scaling_factor", json!(0)),
        ("latent_channels", json!(1e3)),
    ] {
        let changed = with(vae_v1_5(), json!({key: value}));
        let text = crate::common::checkpoint_error(AutoencoderKlConfig::from_json(&changed));
        assert!(text.starts_with("vae: ") && text.contains(key), "{key}: {text}");
    }
    for (key, value) in [
        ("hidden_act", json!("relu")),
        ("hidden_size", json!(769)),
        ("num_attention_heads", json!(-1)),
        ("vocab_size", json!(1u64 << 40)),
        ("max_position_embeddings", json!(2)),
        ("layer_norm_eps", json!(-1)),
    ] {
        let changed = with(clip_v1_5(), json!({key: value}));
        let text = crate::common::checkpoint_error(ClipTextConfig::from_json("text_encoder", &changed));
        let named = if key == "hidden_size" { "num_attention_heads" } else { key };
        assert!(text.starts_with("text_encoder: ") && text.contains(named), "{key}: {text}");
    }
}
