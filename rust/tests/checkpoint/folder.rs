//! Which files of a model folder are read.

use std::fs;
use std::path::Path;

use sd_rbee::Error;
use sd_rbee::checkpoint::ModelFolder;
use serde_json::json;
use tempfile::{TempDir, tempdir};

use super::write;
use crate::common::checkpoint_error;

fn model() -> TempDir {
    let folder = tempdir().expect("a folder");
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.40.0",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "safety_checker": [null, null],
        "requires_safety_checker": false,
    });
    write(folder.path(), "model_index.json", index.to_string());
    fs::create_dir(folder.path().join("unet")).expect("a folder");
    folder
}

fn files(folder: &Path) -> sd_rbee::Result<Vec<String>> {
    let paths = ModelFolder::open(folder)?.weight_files("unet")?;
    let name = |path: &std::path::PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    Ok(paths.iter().map(name).collect())
}

fn index_of(names: &[&str]) -> String {
    let map: serde_json::Map<_, _> = names.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name))).collect();
    json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()
}

#[test]
fn the_model_index_lists_what_there_is() {
    let folder = model();
    let opened = ModelFolder::open(folder.path()).expect("a model");
    assert_eq!(opened.class_name(), "StableDiffusionPipeline");
    assert_eq!(opened.component_class("unet"), Some("UNet2DConditionModel"));
    assert_eq!(opened.component_library("unet"), Some("diffusers"));
    assert!(opened.has("unet") && !opened.has("safety_checker") && !opened.has("requires_safety_checker"));
    assert_eq!(opened.path(), folder.path());
}

#[test]
fn what_is_no_model_is_not_found() {
    let folder = tempdir().expect("a folder");
    let file = write(folder.path(), "file", "");
    for path in [folder.path().join("absent"), file, folder.path().to_path_buf()] {
        assert!(matches!(ModelFolder::open(&path), Err(Error::ModelNotFound(_))), "{path:?}");
    }
    for text in ["", "[]", "{}", r#"{"_class_name": 1}"#, "{\"_class_name\": \"A\"", "\u{feff}{}"] {
        write(folder.path(), "model_index.json", text);
        checkpoint_error(ModelFolder::open(folder.path()));
    }
    write(folder.path(), "model_index.json", [0xff, 0xfe]);
    assert!(checkpoint_error(ModelFolder::open(folder.path())).contains("is not UTF-8"));
    write(folder.path(), "model_index.json", " ".repeat((1 << 20) + 1));
    assert!(checkpoint_error(ModelFolder::open(folder.path())).contains("allowed are at most 1048576"));
}

#[test]
fn full_precision_comes_before_half() {
    let folder = model();
    let unet = folder.path().join("unet");
    let stem = "diffusion_pytorch_model";
    write(&unet, "shard-1.fp16.safetensors", "");
    for index in ["safetensors.index.fp16.json", "fp16.safetensors.index.json"] {
        let index = write(&unet, &format!("{stem}.{index}"), index_of(&["shard-1.fp16.safetensors"]));
        assert_eq!(files(folder.path()).expect("shards"), ["shard-1.fp16.safetensors"]);
        fs::remove_file(index).expect("removed");
    }
    write(&unet, "model.safetensors.index.fp16.json", index_of(&["shard-1.fp16.safetensors"]));
    write(&unet, &format!("{stem}.fp16.safetensors"), "");
    assert_eq!(files(folder.path()).expect("shards"), ["shard-1.fp16.safetensors"]);
    fs::remove_file(unet.join("model.safetensors.index.fp16.json")).expect("removed");
    assert_eq!(files(folder.path()).expect("a file"), [format!("{stem}.fp16.safetensors")]);
    write(&unet, "b.safetensors", "");
    write(&unet, "a.safetensors", "");
    let names = ["b.safetensors", "a.safetensors", "b.safetensors"];
    write(&unet, &format!("{stem}.safetensors.index.json"), index_of(&names));
    assert_eq!(files(folder.path()).expect("shards"), ["a.safetensors", "b.safetensors"]);
    write(&unet, &format!("{stem}.safetensors"), "");
    assert_eq!(files(folder.path()).expect("a file"), [format!("{stem}.safetensors")]);
}

#[test]
fn shards_stay_in_their_folder() {
    let folder = model();
    write(folder.path(), "outside.safetensors", "");
    let absolute = folder.path().join("outside.safetensors").to_string_lossy().into_owned();
    for name in [
        "../outside.safetensors",
        "..\\outside.safetensors",
        "./outside.safetensors",
        "sub/outside.safetensors",
        "C:outside.safetensors",
        "a\n.safetensors",
        "a\0.safetensors",
        "..",
        "",
        "weights.bin",
        &absolute,
    ] {
        write(folder.path(), "unet/model.safetensors.index.json", index_of(&[name]));
        let text = checkpoint_error(files(folder.path()));
        assert!(text.starts_with("unet/model.safetensors.index.json: "), "{text}");
        assert!(text.contains("is not the name of a safetensors file beside it"), "{text}");
    }
}

#[test]
fn an_index_must_list_shards_that_are_there() {
    let folder = model();
    for (text, reason) in [
        (index_of(&[]), "lists no tensors"),
        (index_of(&["a.safetensors"]), "the shard \"a.safetensors\" that it lists is missing"),
        ("{}".into(), "weight_map"),
        (r#"{"weight_map": {"a": 1}}"#.into(), "not the JSON that it should be"),
        ("[".into(), "not the JSON that it should be"),
    ] {
        write(folder.path(), "unet/model.safetensors.index.json", text);
        let text = checkpoint_error(files(folder.path()));
        assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let folder = model();
    assert!(checkpoint_error(files(folder.path())).starts_with("unet: has no weights"));
    fs::create_dir(folder.path().join("unet/model.safetensors")).expect("a folder");
    assert!(checkpoint_error(files(folder.path())).starts_with("unet: has no weights"));
    write(folder.path(), "unet/diffusion_pytorch_model.bin", "");
    assert!(checkpoint_error(files(folder.path())).contains("only pickled weights (diffusion_pytorch_model.bin)"));
    let opened = ModelFolder::open(folder.path()).expect("a model");
    for component in ["vae", "../unet", "", ".", "unet/x"] {
        assert!(checkpoint_error(opened.weight_files(component)).contains("the model has no folder"), "{component}");
    }
    assert_eq!(checkpoint_error(opened.config("unet")), "unet/config.json: there is no such file");
    fs::create_dir(folder.path().join("unet/config.json")).expect("a folder");
    assert_eq!(checkpoint_error(opened.config("unet")), "unet/config.json: is not a file");
    fs::remove_dir(folder.path().join("unet/config.json")).expect("removed");
    write(folder.path(), "unet/config.json", "[]");
    assert_eq!(checkpoint_error(opened.config("unet")), "unet/config.json: is not a JSON object");
}
