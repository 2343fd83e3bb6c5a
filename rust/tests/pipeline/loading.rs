//! Models that are there and cannot be used.

use std::fs;
use std::path::Path;
use std::process::Command;

use sd_rbee::Error;
use sd_rbee::device::dtype_name;
use sd_rbee::instruction_set::{self, InstructionSet};
use sd_rbee::pipeline::{Engine, Pipeline};
use sd_rbee::threads::{self, MAX_THREADS};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::load;
use crate::common::{checkpoint_error, invalid_field, pollen};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &target) } else { drop(fs::copy(entry.path(), target)) }
    }
}

fn model() -> TempDir {
    let folder = tempdir().expect("a folder");
    copy(&pollen(), folder.path());
    folder
}

/// Changes entries of a JSON file.
fn change(folder: &TempDir, file: &str, changes: Value) {
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).expect(file)).expect(file);
    for (key, change) in changes.as_object().expect("an object") {
        value[key] = change.clone();
    }
    fs::write(path, value.to_string()).expect(file);
}

fn load_from(folder: &TempDir) -> sd_rbee::Result<Pipeline> {
    Pipeline::load(folder.path(), "cpu", "auto", Engine::Native, None)
}

#[test]
fn pollen_loads_and_says_where_its_bytes_are() {
    let pipeline = load_from(&model()).expect("a copy of pollen");
    let stored: Vec<_> =
        pipeline.residency().iter().map(|part| (part.component, part.dtype, part.stored_dtype)).collect();
    assert_eq!(stored, [("text_encoder", "f32", "f16"), ("unet", "f32", "f16"), ("vae", "f32", "f16")]);
    assert!(pipeline.residency().iter().all(|part| part.device == "cpu" && part.bytes > 1 << 20));
    assert_eq!(pipeline.model().defaults, load(Engine::Native).model().defaults);
}

#[test]
fn devices_and_dtypes_are_checked_before_the_folder() {
    let nowhere = Path::new("/there/is/no/such/folder");
    let load = |device, dtype| Pipeline::load(nowhere, device, dtype, Engine::Native, None);
    assert_eq!(invalid_field(load("gpu", "auto")), "device");
    assert_eq!(invalid_field(load("cpu", "f64")), "dtype");
    assert_eq!(invalid_field(load("cpu", "f16")), "dtype");
    for dtype in ["auto", "f32", "bf16"] {
        assert!(matches!(load("cpu", dtype), Err(Error::ModelNotFound(text)) if text.contains("no/such/folder")));
    }
}

/// pollen is narrower than the published models, so that `auto` takes f32 for it on any CPU.
#[test]
fn the_cpu_packs_f32_and_bf16() {
    let load = |dtype| Pipeline::load(&pollen(), "cpu", dtype, Engine::Native, None).expect(dtype);
    let bytes = |pipeline: &Pipeline| pipeline.residency().iter().map(|part| part.bytes).sum::<usize>();
    let [auto, wide, narrow] = ["auto", "f32", "bf16"].map(load);
    for (pipeline, dtype) in [(&auto, "f32"), (&wide, "f32"), (&narrow, "bf16")] {
        assert_eq!(dtype_name(pipeline.dtype()), dtype);
        for part in pipeline.residency() {
            assert_eq!((part.dtype, part.storage), (dtype, "packed"), "{part}");
        }
    }
    assert!(bytes(&narrow) < bytes(&wide) * 6 / 10, "{} of {} bytes", bytes(&narrow), bytes(&wide));
    let candle = Pipeline::load(&pollen(), "cpu", "auto", Engine::Candle, None).expect("the engine candle");
    let storage =
        |component| candle.residency().iter().find(|part| part.component == component).map(|part| part.storage);
    assert_eq!((storage("unet"), storage("vae")), (Some("copied"), Some("copied")));
    let narrow_candle = Pipeline::load(&pollen(), "cpu", "bf16", Engine::Candle, None);
    assert_eq!(invalid_field(narrow_candle), "dtype");
}

#[test]
fn threads_are_checked_and_told() {
    let load = |count| Pipeline::load(&pollen(), "cpu", "f32", Engine::Native, Some(count));
    assert_eq!(load(3).expect("three threads").num_threads(), 3);
    for count in [0, MAX_THREADS + 1, usize::MAX] {
        assert_eq!(invalid_field(load(count)), "num_threads");
    }
}

/// What the environment chooses is looked at once a process.
#[test]
fn what_the_environment_chooses_is_checked() {
    const CHILD: &str = "SD_RBEE_TEST_EXPECTED_FIELD";
    let load = || Pipeline::load(&pollen(), "cpu", "auto", Engine::Native, None);
    if let Ok(field) = std::env::var(CHILD) {
        let error = load().err().expect("an error");
        assert!(matches!(error, Error::InvalidParams { .. }), "{error:?}");
        assert_eq!(error.to_string(), field);
        return;
    }
    let sets: Vec<_> = InstructionSet::all().into_iter().map(InstructionSet::name).collect();
    let threads = format!("1 to {MAX_THREADS}");
    for (variable, given, allowed) in [
        (instruction_set::VARIABLE, "avx1024", format!("{} on this machine", sets.join(", "))),
        (threads::VARIABLE, "0", threads.clone()),
        (threads::VARIABLE, "many", threads.clone()),
        (threads::VARIABLE, "-1", threads),
    ] {
        let name = "pipeline::loading::what_the_environment_chooses_is_checked";
        let mut child = Command::new(std::env::current_exe().expect("this binary"));
        child.args(["--exact", name]).env(variable, given);
        let output = child.env(CHILD, format!("{variable}: got {given}, allowed is {allowed}")).output();
        let output = output.expect("the test runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{variable}={given}: {text}");
    }
}

#[test]
fn configurations_that_contradict_each_other_are_refused() {
    for (file, changes, reason) in [
        ("unet/config.json", json!({"cross_attention_dim": 64}), "cross_attention_dim is 64, but text_encoder"),
        ("unet/config.json", json!({"in_channels": 9}), "unet: in_channels is 9, but vae: latent_channels is 8"),
        ("unet/config.json", json!({"sample_size": 513}), "sample_size is 513, supported is 1 to 512"),
        ("vae/config.json", json!({"latent_channels": 4}), "but vae: latent_channels is 4"),
        ("model_index.json", json!({"_class_name": "FluxPipeline"}), "the pipeline is FluxPipeline"),
        ("generation_config.json", json!({"num_inference_steps": 0}), "num_inference_steps is 0"),
        ("generation_config.json", json!({"guidance_scale": "x"}), "guidance_scale is \"x\""),
        ("scheduler/scheduler_config.json", json!({"num_train_timesteps": -1}), "num_train_timesteps"),
        ("text_encoder/config.json", json!({"vocab_size": 4000}), "vocab_size is 4000"),
        ("tokenizer/tokenizer_config.json", json!({"model_max_length": 16}), "model_max_length is 16"),
    ] {
        let folder = model();
        change(&folder, file, changes);
        let text = checkpoint_error(load_from(&folder));
        assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    }
}

#[test]
fn weights_that_do_not_fit_are_listed() {
    let folder = model();
    change(&folder, "unet/config.json", json!({"layers_per_block": 2}));
    let text = checkpoint_error(load_from(&folder));
    assert!(
        text.starts_with("unet: ") && text.contains("missing: down_blocks.0.resnets.1.conv1.weight [64, 64, 3, 3]")
    );
    let folder = model();
    let weights = |component: &str, name: &str| folder.path().join(component).join(name);
    fs::copy(weights("vae", "diffusion_pytorch_model.safetensors"), weights("text_encoder", "model.safetensors"))
        .expect("copied");
    let text = checkpoint_error(load_from(&folder));
    assert!(text.contains("missing: embeddings.token_embedding.weight [4294, 128]"), "{text}");
    assert!(text.contains("unexpected: encoder.conv_in.weight"), "{text}");
}

#[test]
fn weights_that_are_cut_or_away_are_named() {
    for (component, name) in [
        ("text_encoder", "model.safetensors"),
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
    ] {
        let folder = model();
        let path = folder.path().join(component).join(name);
        let length = fs::metadata(&path).expect(name).len();
        let file = fs::OpenOptions::new().write(true).open(&path).expect(name);
        file.set_len(length - 1).expect("cut");
        let text = checkpoint_error(load_from(&folder));
        assert!(text.starts_with(&format!("{component}/{name}: is truncated")), "{text}");
        fs::remove_file(&path).expect("removed");
        assert!(checkpoint_error(load_from(&folder)).starts_with(&format!("{component}: has no weights")));
        fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
        let text = checkpoint_error(load_from(&folder));
        assert_eq!(text, format!("the model has no folder {component:?}"));
    }
}

#[test]
fn parts_that_are_no_networks_are_needed_too() {
    for (part, reason) in
        [("tokenizer", "the model has no folder \"tokenizer\""), ("scheduler", "the model has no folder \"scheduler\"")]
    {
        let folder = model();
        fs::remove_dir_all(folder.path().join(part)).expect("removed");
        assert_eq!(checkpoint_error(load_from(&folder)), reason);
    }
}
