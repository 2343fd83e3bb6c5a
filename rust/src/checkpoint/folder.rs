//! A model as diffusers saves it: `model_index.json` and one folder a component.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{broken, read_json, read_text};

const INDEX: &str = "model_index.json";
const MAX_CONFIG_BYTES: u64 = 1 << 20;
const MAX_SHARD_INDEX_BYTES: u64 = 16 << 20;
/// File stems of weights: transformers' and diffusers'.
const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];
/// What the index of a sharded file is called, by stem, in full precision first: with a variant, transformers,
/// diffusers and older diffusers each place it elsewhere.
const SHARD_INDEXES: [&str; 4] = [
    "safetensors.index.json",
    "safetensors.fp16.index.json",
    "safetensors.index.fp16.json",
    "fp16.safetensors.index.json",
];
const PICKLES: [&str; 5] = ["bin", "ckpt", "pt", "pth", "pkl"];

/// A model folder in diffusers layout. Errors name files relative to it.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    class_name: String,
    components: BTreeMap<String, Component>,
}

#[derive(Debug, Clone)]
struct Component {
    library: String,
    class: String,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ModelFolder {
    /// Reads the `model_index.json` of the folder `path`.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] if there is no such folder or it has no `model_index.json`, [`Error::Checkpoint`] if
    /// that file cannot be made sense of.
    pub fn open(path: &Path) -> Result<Self> {
        let given = path.display();
        let metadata = fs::metadata(path)
            .map_err(|error| Error::ModelNotFound(format!("there is no model folder at {given}: {error}")))?;
        if !metadata.is_dir() {
            return Err(Error::ModelNotFound(format!("{given} is a file, a model is a folder with a {INDEX}")));
        }
        if fs::symlink_metadata(path.join(INDEX)).is_err() {
            return Err(Error::ModelNotFound(format!(
                "{given} is not a model folder in diffusers layout: it has no {INDEX}"
            )));
        }
        let index: BTreeMap<String, Value> = read_json(&path.join(INDEX), INDEX, MAX_CONFIG_BYTES)?;
        let class_name = match index.get("_class_name") {
            Some(Value::String(name)) => name.clone(),
            _ => return Err(broken(INDEX, "has no \"_class_name\"")),
        };
        let components = index.iter().filter_map(|(name, entry)| Some((name.clone(), Component::read(entry)?)));
        Ok(Self { path: path.to_path_buf(), class_name, components: components.collect() })
    }

    /// The folder, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pipeline's class, such as `StableDiffusionPipeline`.
    pub fn class_name(&self) -> &str {
        &self.class_name
    }

    /// Whether the model lists `component`, such as `unet`, as one that it has.
    pub fn has(&self, component: &str) -> bool {
        self.components.contains_key(component)
    }

    /// The class of `component`, such as `UNet2DConditionModel`.
    pub fn component_class(&self, component: &str) -> Option<&str> {
        self.components.get(component).map(|component| component.class.as_str())
    }

    /// The library that `component`'s class is from, `diffusers` or `transformers`.
    pub fn component_library(&self, component: &str) -> Option<&str> {
        self.components.get(component).map(|component| component.library.as_str())
    }

    /// The configuration of `component`: its `config.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, larger than 1 MiB, or not a JSON object.
    pub fn config(&self, component: &str) -> Result<Value> {
        let (path, shown) = self.file(component, "config.json")?;
        let config: Value = read_json(&path, &shown, MAX_CONFIG_BYTES)?;
        if config.is_object() { Ok(config) } else { Err(broken(&shown, "is not a JSON object")) }
    }

    /// The text of the scheduler's configuration: diffusers writes numbers into it that JSON does not have.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, larger than 1 MiB, or not UTF-8.
    pub fn scheduler_config(&self) -> Result<String> {
        let (path, shown) = self.file("scheduler", "scheduler_config.json")?;
        read_text(&path, &shown, MAX_CONFIG_BYTES)
    }

    /// The safetensors files of `component`: one, or its shards in the order of their names. Full precision is
    /// preferred to an `fp16` variant.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there are none, only pickled ones, or a list of shards that names a missing file or
    /// one outside the component's folder.
    pub fn weight_files(&self, component: &str) -> Result<Vec<PathBuf>> {
        let folder = self.folder(component)?;
        for variant in ["", "fp16."] {
            for stem in STEMS {
                let single = folder.join(format!("{stem}.{variant}safetensors"));
                if single.is_file() {
                    return Ok(vec![single]);
                }
                for suffix in SHARD_INDEXES.iter().filter(|suffix| suffix.contains("fp16") != variant.is_empty()) {
                    let index = format!("{stem}.{suffix}");
                    if folder.join(&index).is_file() {
                        return shards(&folder, &index, &format!("{component}/{index}"));
                    }
                }
            }
        }
        Err(missing_weights(&folder, component))
    }

    /// The folder of the tokenizer `name`, such as `tokenizer` or `tokenizer_2`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such folder.
    pub fn tokenizer_dir(&self, name: &str) -> Result<PathBuf> {
        self.folder(name)
    }

    fn file(&self, component: &str, name: &str) -> Result<(PathBuf, String)> {
        Ok((self.folder(component)?.join(name), format!("{component}/{name}")))
    }

    fn folder(&self, component: &str) -> Result<PathBuf> {
        let folder = self.path.join(component);
        if !is_plain_name(component) || !folder.is_dir() {
            return Err(Error::Checkpoint(format!("the model has no folder {component:?}")));
        }
        Ok(folder)
    }
}

impl Component {
    /// `[library, class]`; `[null, null]` is a component that the pipeline could have and this model has not. Other
    /// entries are settings of the pipeline.
    fn read(entry: &Value) -> Option<Self> {
        match entry.as_array()?.as_slice() {
            [Value::String(library), Value::String(class)] => {
                Some(Self { library: library.clone(), class: class.clone() })
            }
            _ => None,
        }
    }
}

/// Whether `name` stays in the folder that it is joined to, on every system.
fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

fn shards(folder: &Path, index: &str, shown: &str) -> Result<Vec<PathBuf>> {
    let ShardIndex { weight_map } = read_json(&folder.join(index), shown, MAX_SHARD_INDEX_BYTES)?;
    let names: BTreeSet<_> = weight_map.into_values().collect();
    if names.is_empty() {
        return Err(broken(shown, "lists no tensors"));
    }
    let shard = |name: String| {
        if !is_plain_name(&name) || !name.ends_with(".safetensors") {
            Err(broken(shown, format_args!("{name:?} is not the name of a safetensors file beside it")))
        } else if !folder.join(&name).is_file() {
            Err(broken(shown, format_args!("the shard {name:?} that it lists is missing")))
        } else {
            Ok(folder.join(name))
        }
    };
    names.into_iter().map(shard).collect()
}

fn missing_weights(folder: &Path, component: &str) -> Error {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let is_pickle = |name: &&String| {
        Path::new(name).extension().is_some_and(|extension| PICKLES.iter().any(|pickle| extension == *pickle))
    };
    match names.iter().find(is_pickle) {
        Some(pickle) => broken(
            component,
            format_args!("has only pickled weights ({pickle}); a pickle can run code, only safetensors is read"),
        ),
        None => broken(
            component,
            format_args!("has no weights: neither {}.safetensors nor {}.safetensors", STEMS[0], STEMS[1]),
        ),
    }
}
