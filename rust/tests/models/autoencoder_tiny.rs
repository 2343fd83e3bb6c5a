//! The tiny autoencoder: its configuration, its size, its shapes.

use proptest::prelude::*;
use sd_rbee::Error;
use sd_rbee::models::{AutoencoderConfig, AutoencoderTinyConfig};
use sd_rbee::nn::Weights;
use sd_rbee::progress::CancelToken;
use serde_json::{Value, json};

use super::forward::{assert_finite, random};
use super::{Vae, autoencoder, invent, missed};
use crate::common::checkpoint_error;

fn tiny(config: &AutoencoderTinyConfig) -> impl Fn(&Weights) -> sd_rbee::Result<Vae> {
    autoencoder(AutoencoderConfig::Tiny(config.clone()))
}

/// TAESD's own, as published.
fn taesd() -> Value {
    json!({
        "_class_name": "AutoencoderTiny", "act_fn": "relu", "in_channels": 3, "out_channels": 3,
        "encoder_block_out_channels": [64, 64, 64, 64], "decoder_block_out_channels": [64, 64, 64, 64],
        "num_encoder_blocks": [1, 3, 3, 3], "num_decoder_blocks": [3, 3, 3, 1], "latent_channels": 4,
        "latent_magnitude": 3, "latent_shift": 0.5, "upsampling_scaling_factor": 2, "scaling_factor": 1.0,
        "force_upcast": false,
    })
}

#[test]
fn taesd_has_its_parameters() {
    let config = AutoencoderTinyConfig::from_json(&taesd()).expect("a published model");
    assert_eq!(config, AutoencoderTinyConfig::from_json(&json!({})).expect("the defaults are TAESD's"));
    let tensors = missed(tiny(&config));
    let count = |half: &str| -> usize {
        let shapes = tensors.iter().filter(|(name, _)| name.starts_with(half)).map(|(_, shape)| shape);
        shapes.map(|shape| shape.iter().product::<usize>()).sum()
    };
    assert_eq!((count("encoder."), count("decoder.")), (1_222_532, 1_222_531));
    assert_eq!(tensors["decoder.layers.6.weight"], [64, 64, 3, 3]);
    assert!(!tensors.contains_key("decoder.layers.6.bias") && tensors.contains_key("decoder.layers.18.bias"));
    assert_eq!(config.factor(), 8);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (key, value) in [
        ("act_fn", json!("gelu")),
        ("upsample_fn", json!("bilinear")),
        ("upsampling_scaling_factor", json!(3)),
        ("shift_factor", json!(0.1)),
        ("encoder_block_out_channels", json!([64, 32, 64, 64])),
        ("decoder_block_out_channels", json!([64, 64, 64])),
        ("decoder_block_out_channels", json!([])),
        ("num_encoder_blocks", json!([1, 3, 3])),
        ("num_decoder_blocks", json!([3, 3, 3, 33])),
        ("latent_channels", json!(0)),
        ("latent_magnitude", json!("large")),
        ("latent_shift", json!([0.5])),
        ("scaling_factor", json!(0)),
        ("force_upcast", json!("no")),
        ("in_channels", json!(4)),
        ("out_channels", json!(1)),
    ] {
        let mut config = taesd();
        config[key] = value;
        let text = checkpoint_error(AutoencoderTinyConfig::from_json(&config));
        assert!(text.starts_with("vae: ") && text.contains(key), "{key}: {text}");
    }
}

#[test]
fn the_class_is_what_the_model_says_else_the_configuration() {
    let read = |class, config: &Value| AutoencoderConfig::from_json("preview_vae", class, config);
    assert!(matches!(read(None, &taesd()), Ok(AutoencoderConfig::Tiny(_))));
    assert!(matches!(read(Some("AutoencoderTiny"), &json!({})), Ok(AutoencoderConfig::Tiny(_))));
    let text = checkpoint_error(read(Some("AutoencoderKL"), &taesd()));
    assert!(text.starts_with("preview_vae: block_out_channels"), "{text}");
    let text = checkpoint_error(read(None, &json!({"_class_name": "ConsistencyDecoderVAE"})));
    assert_eq!(text, "preview_vae: the class is ConsistencyDecoderVAE, supported is AutoencoderKL or AutoencoderTiny");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn it_scales_by_its_factor(
        blocks in prop::collection::vec((0usize..3, 0usize..3), 1..5), (encoder, decoder) in (1usize..9, 1usize..9),
        latents in 1usize..5, (height, width) in (1usize..5, 1usize..5),
    ) {
        let levels = blocks.len();
        let config = json!({
            "encoder_block_out_channels": vec![encoder; levels], "decoder_block_out_channels": vec![decoder; levels],
            "num_encoder_blocks": blocks.iter().map(|(count, _)| count).collect::<Vec<_>>(),
            "num_decoder_blocks": blocks.iter().map(|(_, count)| count).collect::<Vec<_>>(),
            "latent_channels": latents,
        });
        let config = AutoencoderTinyConfig::from_json(&config).expect("a right configuration");
        let (model, _) = invent(tiny(&config));
        let (cancel, factor) = (CancelToken::new(), config.factor());
        let (small, large) = ([2, latents, height, width], [2, 3, height * factor, width * factor]);
        assert_finite(&model.decoder.decode(&random(&small), &cancel).expect("pixels"), &large);
        let posterior = model.encoder.encode(&random(&large), &cancel).expect("latents");
        assert_finite(&posterior.mean, &small);
        let undrawn = posterior.sample(|_| panic!("there is no noise to draw")).expect("the mean");
        assert_eq!(undrawn.dims(), small);
        cancel.cancel();
        prop_assert!(matches!(model.decoder.decode(&random(&small), &cancel), Err(Error::Cancelled)));
    }
}
