//! Tiny networks of any accepted shape run, and keep the shapes that they promise.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use sd_rbee::Error;
use sd_rbee::models::{
    AddedConditioning, AutoencoderKlConfig, ClipTextConfig, Conditioning, DeepFeatures, Denoiser, HiddenState,
    TextEncoder, UNet2DConditionConfig,
};
use sd_rbee::progress::CancelToken;
use serde_json::{Value, json};

use super::{clip, invent, unet, vae};
use crate::common::noise;

pub fn random(shape: &[usize]) -> Tensor {
    Tensor::from_vec(noise(shape.iter().product(), 7), shape, &Device::Cpu).expect("a tensor")
}

pub fn assert_finite(tensor: &Tensor, shape: &[usize]) {
    assert_eq!(tensor.dims(), shape);
    let values: Vec<f32> = tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values");
    assert!(values.iter().all(|value| value.is_finite()));
}

/// What the network takes beside a sample.
fn conditions(config: &UNet2DConditionConfig, batch: usize, tokens: usize) -> Conditioning {
    let added = config.addition_embed.map(|added| AddedConditioning {
        pooled: random(&[batch, added.pooled_width()]),
        time_ids: random(&[batch, 6]),
    });
    Conditioning::new(random(&[batch, tokens, config.cross_attention_dim]), added)
}

/// Blocks with and without attention in any order, heads, layers and transformer layers a level, linear projections or
/// none, with and without a middle.
fn tiny_unet() -> impl Strategy<Value = Value> {
    let levels = 1usize..5;
    levels.prop_flat_map(|levels| {
        let per_level = move |range: std::ops::Range<u64>| prop::collection::vec(range, levels);
        let kinds = move |name: &'static str| {
            let kind = any::<bool>()
                .prop_map(move |attention| if attention { format!("CrossAttn{name}") } else { name.into() });
            prop::collection::vec(kind, levels)
        };
        let lists = (per_level(1..5), per_level(1..4), per_level(1..3), kinds("DownBlock2D"), kinds("UpBlock2D"));
        let heads = prop::collection::vec(prop::sample::select(vec![1, 2, 4]), levels);
        (lists, heads, any::<[bool; 4]>(), 1u64..5, 1u64..9).prop_map(|(lists, heads, flags, channels, context)| {
            let (widths, layers, blocks, down, up) = lists;
            let mut config = json!({
                "block_out_channels": widths.iter().map(|width| width * 4).collect::<Vec<_>>(), "norm_num_groups": 2,
                "layers_per_block": layers, "transformer_layers_per_block": blocks, "attention_head_dim": heads,
                "down_block_types": down, "up_block_types": up, "in_channels": channels, "out_channels": channels,
                "mid_block_type": if flags[0] { json!("UNetMidBlock2DCrossAttn") } else { Value::Null },
                "use_linear_projection": flags[1], "flip_sin_to_cos": flags[2], "cross_attention_dim": context,
            });
            if flags[3] {
                config["addition_embed_type"] = json!("text_time");
                config["addition_time_embed_dim"] = json!(2 * channels);
                config["projection_class_embeddings_input_dim"] = json!(12 * channels + context);
            }
            config
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_unet_keeps_the_shape(
        config in tiny_unet(), batch in 1usize..3, height in 1usize..14, width in 1usize..14, tokens in 1usize..6,
    ) {
        let config = UNet2DConditionConfig::from_json(&config).expect("a right configuration");
        let (model, _) = invent(unet(&config));
        let shape = [batch, config.in_channels, height, width];
        let context = conditions(&config, batch, tokens);
        let output = model.predict(&random(&shape), 981.0, &context, &CancelToken::new()).expect("a prediction");
        assert_finite(&output, &shape);
    }

    /// What is kept of a step and given back to the same step changes nothing, at any skip connection.
    #[test]
    fn a_unets_halves_are_the_whole(
        config in tiny_unet(), branch in any::<prop::sample::Index>(), height in 1usize..14, width in 1usize..14,
    ) {
        let config = UNet2DConditionConfig::from_json(&config).expect("a right configuration");
        let (model, _) = invent(unet(&config));
        let (sample, context) = (random(&[2, config.in_channels, height, width]), conditions(&config, 2, 3));
        let cancel = CancelToken::new();
        let values = |tensor: Tensor| -> Vec<f32> {
            tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values")
        };
        let whole = values(model.predict(&sample, 981.0, &context, &cancel).expect("a prediction"));
        let mut features = DeepFeatures::new(branch.index(config.deepcache_branches()));
        for step in ["computes", "repeats"] {
            features.begin_step(false, 2).expect("begun");
            prop_assert_eq!(features.kept().is_some(), step == "repeats");
            let output = model.predict_cached(&sample, 981.0, &context, &mut features, &cancel).expect("a prediction");
            prop_assert!(values(output) == whole, "{}", step);
        }
        let other = model.predict_cached(&random(sample.dims()).affine(0.5, 0.1).expect("another"), 1.0, &context,
            &mut features, &cancel).expect("a prediction");
        assert_finite(&other, sample.dims());
    }

    #[test]
    fn a_vae_scales_by_its_factor(
        widths in prop::collection::vec(1usize..5, 1..5), layers in 1usize..3, latents in 1usize..5,
        flags: [bool; 3], (height, width) in (1usize..5, 1usize..5),
    ) {
        let config = json!({
            "block_out_channels": widths.iter().map(|width| width * 4).collect::<Vec<_>>(), "norm_num_groups": 2,
            "down_block_types": vec!["DownEncoderBlock2D"; widths.len()],
            "up_block_types": vec!["UpDecoderBlock2D"; widths.len()],
            "layers_per_block": layers, "latent_channels": latents, "use_quant_conv": flags[0],
            "use_post_quant_conv": flags[1], "mid_block_add_attention": flags[2],
        });
        let config = AutoencoderKlConfig::from_json(&config).expect("a right configuration");
        let (model, _) = invent(vae(&config));
        let (cancel, factor) = (CancelToken::new(), config.factor());
        let (small, large) = ([2, latents, height, width], [2, 3, height * factor, width * factor]);
        assert_finite(&model.decoder.decode(&random(&small), &cancel).expect("pixels"), &large);
        let posterior = model.encoder.encode(&random(&large), &cancel).expect("latents");
        assert_finite(&posterior.mean, &small);
        assert_finite(posterior.std.as_ref().expect("a deviation"), &small);
    }

    /// Wherever tiles meet: norms, attention and both ends of the picture included.
    #[test]
    fn a_vae_in_tiles_is_the_whole(
        widths in prop::collection::vec(1usize..3, 1..5), layers in 1usize..3, flags: [bool; 3], cells in 130usize..200,
        is_wide: bool,
    ) {
        let levels = widths.len();
        let config = json!({
            "block_out_channels": widths.iter().map(|width| width * 4).collect::<Vec<_>>(), "norm_num_groups": 2,
            "down_block_types": vec!["DownEncoderBlock2D"; levels], "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "layers_per_block": layers, "latent_channels": 3, "use_quant_conv": flags[0],
            "use_post_quant_conv": flags[1], "mid_block_add_attention": flags[2] && levels > 2,
        });
        let config = AutoencoderKlConfig::from_json(&config).expect("a right configuration");
        let (model, _) = invent(vae(&config));
        let (cancel, factor) = (CancelToken::new(), config.factor());
        let (long, short) = (4 * cells / factor, 16 / factor);
        let (height, width) = if is_wide { (short, long) } else { (long, short) };
        let near = |whole: Tensor, tiled: Tensor| {
            let values = |tensor: Tensor| tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32 values");
            let (whole, tiled) = (values(whole), values(tiled));
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
            let error = square(&mut whole.iter().zip(&tiled).map(|(whole, tiled)| whole - tiled));
            (error / square(&mut whole.iter().copied())).sqrt() < 1e-4 && whole.len() == tiled.len()
        };
        let latents = random(&[2, 3, height, width]);
        let pixels = model.decoder.decode(&latents, &cancel).expect("pixels");
        prop_assert!(near(pixels, model.decoder.decode_tiled(&latents, &cancel).expect("pixels")));
        let pixels = random(&[2, 3, height * factor, width * factor]);
        let whole = model.encoder.encode(&pixels, &cancel).expect("latents").mean;
        prop_assert!(near(whole, model.encoder.encode_tiled(&pixels, &cancel).expect("latents").mean));
    }

    #[test]
    fn a_text_encoder_takes_its_window(
        (heads, dim, layers) in (1usize..4, 1usize..5, 1usize..4), window in 3usize..20, vocab in 1u32..30,
        projection in 1usize..9,
    ) {
        let width = heads * dim;
        let config = json!({
            "vocab_size": vocab, "hidden_size": width, "intermediate_size": 3, "num_hidden_layers": layers,
            "num_attention_heads": heads, "max_position_embeddings": window, "projection_dim": projection,
        });
        let (model, _) = invent(clip(&ClipTextConfig::from_json("text_encoder", &config).expect("right")));
        let ids: Vec<u32> = (0..window as u32).map(|id| id % vocab).collect();
        for (skipped, normed) in (0..=layers).flat_map(|skipped| [(skipped, true), (skipped, false)]) {
            let encoding = model.encode(&ids, HiddenState { skipped, normed }).expect("embeddings");
            assert_finite(&encoding.hidden, &[1, window, width]);
            prop_assert!(encoding.pooled.is_none());
        }
        let last = HiddenState { skipped: 0, normed: true };
        prop_assert!(matches!(model.encode(&ids[1..], last), Err(Error::Inference(_))));
        prop_assert!(matches!(model.encode(&vec![vocab; window], last), Err(Error::Checkpoint(_))));
        let too_many = HiddenState { skipped: layers + 1, normed: false };
        prop_assert!(matches!(model.encode(&ids, too_many), Err(Error::Inference(_))));
        let (model, _) = invent(clip(&ClipTextConfig::with_projection("text_encoder_2", &config).expect("right")));
        let encoding = model.encode(&ids, HiddenState { skipped: 1, normed: false }).expect("embeddings");
        assert_finite(&encoding.pooled.expect("a pooled state"), &[1, projection]);
    }
}

#[test]
fn a_cancelled_network_stops() {
    let config = json!({
        "block_out_channels": [4], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        "norm_num_groups": 2, "attention_head_dim": 2, "cross_attention_dim": 4,
    });
    let (model, _) = invent(unet(&UNet2DConditionConfig::from_json(&config).expect("a right configuration")));
    let cancel = CancelToken::new();
    cancel.cancel();
    let conditions = Conditioning::of_text(random(&[1, 2, 4]));
    let result = model.predict(&random(&[1, 4, 8, 8]), 1.0, &conditions, &cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
