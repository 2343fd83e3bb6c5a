//! Whatever a configuration says, it is refused, or its network is built in bounded time and memory.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sd_rbee::Error;
use sd_rbee::models::{
    AutoencoderConfig, AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig, UNet2DConditionConfig,
};
use sd_rbee::nn::Weights;
use serde_json::{Value, json};

use super::published::{clip_v1_5, unet_v1_5, vae_v1_5};
use super::{autoencoder, clip, missed, unet, vae};
use crate::allocations::peak_of;
use crate::common::checkpoint_error;

/// Any JSON, and more often something that a configuration could say.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        4 => (0u64..70).prop_map(Value::from),
        1 => prop::sample::select(vec![320u64, 1024, 16_384, 65_536, 1 << 20, 1 << 32, u64::MAX]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    let text = prop_oneof![
        prop::sample::select(vec![
            "silu",
            "gelu",
            "quick_gelu",
            "DownBlock2D",
            "CrossAttnDownBlock2D",
            "UpBlock2D",
            "CrossAttnUpBlock2D",
            "DownEncoderBlock2D",
            "UpDecoderBlock2D",
            "UNetMidBlock2DCrossAttn",
            "positional",
        ])
        .prop_map(Value::from),
        "\\PC{0,5}".prop_map(Value::from),
    ];
    let leaf = prop_oneof![4 => number, 2 => text, 1 => any::<bool>().prop_map(Value::from), 1 => Just(Value::Null)];
    leaf.prop_recursive(2, 40, 10, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            (inner.clone(), 0usize..10).prop_map(|(value, count)| Value::from(vec![value; count])),
            prop::collection::hash_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// `config` with some of its entries, and of those in `more`, replaced or taken away.
fn changed(config: Value, more: &[&str]) -> impl Strategy<Value = Value> {
    let mut keys: Vec<String> = config.as_object().expect("an object").keys().cloned().collect();
    keys.extend(more.iter().map(ToString::to_string));
    let change = (prop::sample::select(keys), prop::option::weighted(0.9, value()));
    prop::collection::vec(change, 1..5).prop_map(move |changes| {
        let mut config = config.clone();
        for (key, value) in changes {
            match value {
                Some(value) => config[&key] = value,
                None => drop(config.as_object_mut().expect("an object").remove(&key)),
            }
        }
        config
    })
}

/// UNets of any number of levels whose lists agree.
fn leveled() -> impl Strategy<Value = Value> {
    let size = prop_oneof![1u64..5, 1u64..100];
    (1usize..10, prop::collection::vec(any::<bool>(), 20), size.clone(), size.clone(), size).prop_map(
        |(levels, attention, layers, blocks, width)| {
            let kinds = |name: &str, from: usize| -> Vec<String> {
                let kind = |level| if attention[from + level] { format!("CrossAttn{name}") } else { name.into() };
                (0..levels).map(kind).collect()
            };
            json!({
                "block_out_channels": vec![width * 32; levels], "layers_per_block": layers,
                "transformer_layers_per_block": blocks, "attention_head_dim": 8,
                "down_block_types": kinds("DownBlock2D", 0), "up_block_types": kinds("UpBlock2D", 10),
            })
        },
    )
}

/// Builds what was accepted without a single tensor.
fn assert_bounded<T>(build: impl Fn(&Weights) -> sd_rbee::Result<T>) {
    let begun = Instant::now();
    let (peak, tensors) = peak_of(|| missed(build));
    assert!(!tensors.is_empty());
    assert!(peak < 8 << 20, "{peak} bytes");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Whether a configuration was read; an error other than [`Error::Checkpoint`] fails the test.
fn accepted<T>(read: sd_rbee::Result<T>) -> Option<T> {
    match read {
        Ok(config) => Some(config),
        Err(Error::Checkpoint(_)) => None,
        Err(other) => panic!("another error: {other:?}"),
    }
}

const MORE: [&str; 8] = [
    "num_attention_heads",
    "transformer_layers_per_block",
    "use_linear_projection",
    "mid_block_type",
    "addition_embed_type",
    "time_embedding_type",
    "resnet_out_scale_factor",
    "class_embed_type",
];

fn tiny_vae() -> Value {
    json!({
        "encoder_block_out_channels": [64, 64, 64, 64], "decoder_block_out_channels": [64, 64, 64, 64], "latent_channels": 4,
        "num_encoder_blocks": [1, 3, 3, 3], "num_decoder_blocks": [3, 3, 3, 1], "latent_magnitude": 3,
    })
}

proptest! {
    #[test]
    fn any_unet(config in prop_oneof![changed(unet_v1_5(), &MORE), leveled(), value()]) {
        if let Some(config) = accepted(UNet2DConditionConfig::from_json(&config)) {
            assert_bounded(unet(&config));
        }
    }

    #[test]
    fn any_vae(
        config in prop_oneof![
            changed(vae_v1_5(), &["scaling_factor", "use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"]),
            value(),
        ],
    ) {
        if let Some(config) = accepted(AutoencoderKlConfig::from_json(&config)) {
            assert_bounded(vae(&config));
        }
    }

    #[test]
    fn any_tiny_vae(config in prop_oneof![changed(tiny_vae(), &["act_fn", "shift_factor", "scaling_factor"]), value()]) {
        if let Some(config) = accepted(AutoencoderTinyConfig::from_json(&config)) {
            assert_bounded(autoencoder(AutoencoderConfig::Tiny(config)));
        }
    }

    #[test]
    fn any_text_encoder(config in prop_oneof![changed(clip_v1_5(), &[]), value()]) {
        if let Some(config) = accepted(ClipTextConfig::from_json("text_encoder", &config)) {
            assert_bounded(clip(&config));
        }
    }
}

/// The largest networks that configurations may ask for.
#[test]
fn the_largest_networks_are_bounded() {
    let mut config = unet_v1_5();
    config["transformer_layers_per_block"] = json!(30);
    assert_bounded(unet(&UNet2DConditionConfig::from_json(&config).expect("just within the limit")));
    config["transformer_layers_per_block"] = json!(31);
    let text = checkpoint_error(UNet2DConditionConfig::from_json(&config));
    assert!(text.contains("at most 512 resnet and transformer blocks in all"), "{text}");
    let mut config = vae_v1_5();
    config["block_out_channels"] = json!(vec![16_384; 8]);
    config["down_block_types"] = json!(vec!["DownEncoderBlock2D"; 8]);
    config["up_block_types"] = json!(vec!["UpDecoderBlock2D"; 8]);
    config["layers_per_block"] = json!(32);
    let config = AutoencoderKlConfig::from_json(&config).expect("just within the limit");
    assert_eq!(config.factor(), 128);
    assert_bounded(vae(&config));
    let mut config = clip_v1_5();
    config["num_hidden_layers"] = json!(128);
    config["vocab_size"] = json!(1 << 20);
    assert_bounded(clip(&ClipTextConfig::from_json("text_encoder", &config).expect("just within the limit")));
}
