//! Single files of the published models' full size are known by their headers alone.

mod ldm;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use sd_rbee::checkpoint::{SingleFile, VaeFile};
use sd_rbee::models::{AutoencoderKlConfig, ClipTextConfig, UNet2DConditionConfig};
use sd_rbee::nn::weights::TensorSource;
use sd_rbee::schedulers::{PredictionType, SchedulerConfig};
use serde_json::{Map, Value, json};
use tempfile::{TempDir, tempdir};

use crate::common::checkpoint_error;
use crate::models::published::{clip_v1_5, clip_v2_1, clip_xl_2, unet_v1_5, unet_v2_1, unet_xl, vae_v1_5, with};
use crate::models::{clip, missed, unet, vae};
use ldm::{Header, UNet};

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const V1: UNet = UNet {
    in_channels: 4,
    channel_mult: &[1, 2, 4, 4],
    transformer_depth: &[1, 1, 1, 0],
    middle_depth: 1,
    context_dim: 768,
    use_linear_in_transformer: false,
    adm_in_channels: None,
};
const V2: UNet = UNet { context_dim: 1024, use_linear_in_transformer: true, ..V1 };
const XL: UNet = UNet {
    channel_mult: &[1, 2, 4],
    transformer_depth: &[0, 2, 10],
    middle_depth: 10,
    context_dim: 2048,
    adm_in_channels: Some(2816),
    ..V2
};

/// A file of this header whose data is a hole.
fn file(header: &Header, metadata: Value) -> (TempDir, std::path::PathBuf) {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), metadata);
    let mut end = 0;
    for (name, shape) in header {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        entries.insert(name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]}));
    }
    let text = Value::Object(entries).to_string();
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&(text.len() as u64).to_le_bytes()).expect("a length");
    file.write_all(text.as_bytes()).expect("a header");
    file.set_len((8 + text.len() + end) as u64).expect("a hole");
    (folder, path)
}

fn open(header: &Header, metadata: Value) -> sd_rbee::Result<SingleFile> {
    let (_folder, path) = file(header, metadata);
    SingleFile::open(&path, None)
}

fn v1(unet: &UNet) -> Header {
    [unet.tensors(UNET), ldm::vae(VAE), ldm::clip_l("cond_stage_model.transformer.")].concat()
}

fn v2(prefix: &str, layers: usize) -> Header {
    [V2.tensors(UNET), ldm::vae(VAE), ldm::open_clip(prefix, 1024, layers)].concat()
}

fn xl(unet: &UNet) -> Header {
    let second = ldm::open_clip("conditioner.embedders.1.model.", 1280, 32);
    [unet.tensors(UNET), ldm::vae(VAE), ldm::clip_l("conditioner.embedders.0.transformer."), second].concat()
}

/// Whether `component` has exactly the tensors of these names and shapes. A linear layer may be stored as a convolution
/// of 1x1, and the other way round.
fn assert_has(file: &SingleFile, component: &str, asked: BTreeMap<String, Vec<usize>>) {
    let without_kernel = |mut shape: Vec<usize>| {
        if shape.ends_with(&[1, 1]) {
            shape.truncate(2);
        }
        shape
    };
    let tensors = file.tensors(component).expect(component);
    let shape = |name: &str| without_kernel(tensors.shape(name).expect("a shape"));
    let stored: BTreeMap<_, _> = tensors.names().into_iter().map(|name| (name.clone(), shape(&name))).collect();
    let asked: BTreeMap<_, _> = asked.into_iter().map(|(name, shape)| (name, without_kernel(shape))).collect();
    let only_asked: Vec<_> = asked.iter().filter(|(name, shape)| stored.get(*name) != Some(shape)).collect();
    let only_stored: Vec<_> = stored.iter().filter(|(name, shape)| asked.get(*name) != Some(shape)).collect();
    assert!(
        only_asked.is_empty() && only_stored.is_empty(),
        "{component}: {only_asked:?} asked, {only_stored:?} stored"
    );
}

/// The networks' shapes are the published ones, and their tensors are those in the file, every one.
fn assert_holds(file: &SingleFile, unet_json: &Value, text_encoders: &[(&str, Value)], scaling_factor: f64) {
    let config = |component| file.config(component).expect(component);
    let expected = UNet2DConditionConfig::from_json(unet_json).expect("a published model");
    assert_eq!(UNet2DConditionConfig::from_json(&config("unet")).expect("a UNet"), expected);
    assert_has(file, "unet", missed(unet(&expected)));
    let expected = with(vae_v1_5(), json!({"scaling_factor": scaling_factor}));
    let expected = AutoencoderKlConfig::from_json(&expected).expect("a published model");
    assert_eq!(AutoencoderKlConfig::from_json(&config("vae")).expect("a VAE"), expected);
    assert_has(file, "vae", missed(vae(&expected)));
    for (component, json) in text_encoders {
        let read = |value: &Value| match *component {
            "text_encoder" => ClipTextConfig::from_json(component, value),
            _ => ClipTextConfig::with_projection(component, value),
        };
        let expected = read(json).expect("a published model");
        assert_eq!(read(&config(component)).expect("a text encoder"), expected);
        assert_has(file, component, missed(clip(&expected)));
    }
}

#[test]
fn stable_diffusion_1() {
    let file = open(&v1(&V1), Value::Null).expect("a model");
    assert_eq!(file.class_name(), "StableDiffusionPipeline");
    assert!(!file.pads_as_open_clip("text_encoder").expect("a text encoder"));
    assert_holds(&file, &unet_v1_5(), &[("text_encoder", clip_v1_5())], 0.18215);
}

#[test]
fn stable_diffusion_2_takes_23_layers_of_what_is_there() {
    for (prefix, layers) in
        [("cond_stage_model.model.", 24), ("conditioner.embedders.0.model.", 24), ("cond_stage_model.model.", 23)]
    {
        let said = json!({"modelspec.architecture": "stable-diffusion-v2-768-v"});
        let file = open(&v2(prefix, layers), said).expect("a model");
        assert_eq!(file.class_name(), "StableDiffusionPipeline");
        assert!(file.pads_as_open_clip("text_encoder").expect("a text encoder"));
        assert_holds(&file, &unet_v2_1(), &[("text_encoder", clip_v2_1())], 0.18215);
    }
}

#[test]
fn stable_diffusion_xl() {
    let file = open(&xl(&XL), Value::Null).expect("a model");
    assert_eq!(file.class_name(), "StableDiffusionXLPipeline");
    assert!(!file.pads_as_open_clip("text_encoder").expect("a text encoder"));
    assert!(file.pads_as_open_clip("text_encoder_2").expect("a text encoder"));
    // The published 2 means the largest id, which is the end token's too.
    let second = with(clip_xl_2(), json!({"eos_token_id": null}));
    assert_holds(&file, &unet_xl(), &[("text_encoder", clip_v1_5()), ("text_encoder_2", second)], 0.13025);
    let scheduler = SchedulerConfig::from_json(&file.scheduler_config()).expect("a scheduler");
    assert!(!scheduler.is_of_turbo());
}

#[test]
fn models_that_paint_into_pictures() {
    let nine = json!({"in_channels": 9});
    let file = open(&v1(&UNet { in_channels: 9, ..V1 }), Value::Null).expect("a model");
    assert_eq!(file.class_name(), "StableDiffusionInpaintPipeline");
    assert_holds(&file, &with(unet_v1_5(), nine.clone()), &[], 0.18215);
    let file = open(&xl(&UNet { in_channels: 9, ..XL }), Value::Null).expect("a model");
    assert_eq!(file.class_name(), "StableDiffusionXLInpaintPipeline");
    assert_holds(&file, &with(unet_xl(), nine), &[], 0.13025);
}

#[test]
fn turbo_models_are_told_by_their_header() {
    for (header, said) in [
        (v2("cond_stage_model.model.", 24), json!({"modelspec.architecture": "stable-diffusion-v2-turbo"})),
        (v2("conditioner.embedders.0.model.", 24), json!({"modelspec.title": "SD-Turbo"})),
        (xl(&XL), json!({"modelspec.title": "Stable Diffusion XL Turbo 1.0"})),
    ] {
        let file = open(&header, said).expect("a model");
        assert_eq!(file.config("unet").expect("a UNet")["sample_size"], 64);
        let scheduler = SchedulerConfig::from_json(&file.scheduler_config()).expect("a scheduler");
        assert!(scheduler.is_of_turbo());
    }
    let file = open(&xl(&XL), json!({"modelspec.title": "Turbo Dreams"})).expect("a model");
    assert_eq!(file.config("unet").expect("a UNet")["sample_size"], 128);
}

/// A hole is zeros, which are not spread at all.
#[test]
fn a_norm_tells_what_stable_diffusion_2_predicts() {
    let header = v2("cond_stage_model.model.", 24);
    let predicted = |given| {
        let (_folder, path) = file(&header, Value::Null);
        let file = SingleFile::open(&path, given).expect("a model");
        let side = file.config("unet").expect("a UNet")["sample_size"].clone();
        (SchedulerConfig::from_json(&file.scheduler_config()).expect("a scheduler").prediction_type, side)
    };
    assert_eq!(predicted(None), (PredictionType::Epsilon, json!(64)));
    assert_eq!(predicted(Some(PredictionType::VPrediction)), (PredictionType::VPrediction, json!(96)));
}

#[test]
fn a_vae_by_itself() {
    let expected = AutoencoderKlConfig::from_json(&with(vae_v1_5(), json!({"scaling_factor": 0.5}))).expect("a VAE");
    for prefix in ["", "vae.", VAE] {
        let (_folder, path) = file(&ldm::vae(prefix), Value::Null);
        let file = VaeFile::open(&path).expect("a VAE");
        assert_eq!(AutoencoderKlConfig::from_json(&file.config(0.5)).expect("a VAE"), expected, "{prefix}");
        assert_eq!(file.tensors().names(), missed(vae(&expected)).into_keys().collect::<Vec<_>>());
    }
}

#[test]
fn relatives_of_the_models_are_refused_by_name() {
    let refiner = UNet { transformer_depth: &[0, 4, 4, 0], middle_depth: 4, context_dim: 1280, ..XL };
    let refiner = UNet { channel_mult: &[1, 2, 4, 4], adm_in_channels: Some(2560), ..refiner };
    let tower = ldm::open_clip("conditioner.embedders.0.model.", 1280, 32);
    let text = checkpoint_error(open(&[refiner.tensors(UNET), ldm::vae(VAE), tower].concat(), Value::Null));
    assert!(text.contains("is Stable Diffusion XL's refiner"), "{text}");
    let uneven =
        [v1(&V1), vec![(format!("{UNET}input_blocks.1.1.transformer_blocks.1.norm1.bias"), vec![320])]].concat();
    let text = checkpoint_error(open(&uneven, Value::Null));
    assert!(text.contains("unet: its shape cannot be told"), "{text}");
    let text = checkpoint_error(open(&[v1(&V1), vec![("edm_mean".into(), vec![4])]].concat(), Value::Null));
    assert!(text.contains("EDM's noise schedule"), "{text}");
}
