//! One component of a model: a folder with `config.json` and safetensors weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{broken, read_json};

pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
const MAX_SHARD_INDEX_BYTES: u64 = 16 << 20;
/// File stems of weights: transformers' and diffusers'.
const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];
/// Taken where there are no weights in full precision and no variant is asked for.
const HALF_PRECISION: &str = "fp16";
const PICKLES: [&str; 5] = ["bin", "ckpt", "pt", "pth", "pkl"];

/// A component's folder, by itself or inside of a model's.
#[derive(Debug, Clone)]
pub struct ComponentFolder {
    path: PathBuf,
    name: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ComponentFolder {
    /// The existing folder `path`, which errors call `name`, and whose weights are rather those of `variant`.
    pub(super) fn new(path: PathBuf, name: &str, variant: Option<&str>) -> Self {
        Self { path, name: name.to_string(), variant: variant.map(str::to_string) }
    }

    /// A folder by itself; errors name its files by `name`, which says what it is for.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] if there is no folder at `path`.
    pub fn open(path: &Path, name: &str) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::new(path.to_path_buf(), name, None));
        }
        Err(Error::ModelNotFound(format!("{name}: there is no folder at {}", path.display())))
    }

    /// Its `config.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, larger than 1 MiB, or not a JSON object.
    pub fn config(&self) -> Result<Value> {
        let shown = format!("{}/config.json", self.name);
        let config: Value = read_json(&self.path.join("config.json"), &shown, MAX_CONFIG_BYTES)?;
        if config.is_object() { Ok(config) } else { Err(broken(&shown, "is not a JSON object")) }
    }

    /// Its safetensors files: one, or its shards in the order of their names. Those of the variant that was asked for are
    /// preferred, then those without one, which are of full precision, then those of `fp16`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there are none, only pickled ones, or a list of shards that names a missing file or
    /// one outside the folder.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>> {
        let variants = self.variant.as_deref().into_iter().chain(["", HALF_PRECISION]);
        match variants.into_iter().find_map(|variant| self.weights(variant)) {
            Some(Weights::Single(path)) => Ok(vec![path]),
            Some(Weights::Shards(index)) => shards(&self.path, &index, &format!("{}/{index}", self.name)),
            None => Err(missing_weights(&self.path, &self.name)),
        }
    }

    /// Whether it has weights of the variant that was asked for.
    pub(super) fn has_variant(&self) -> bool {
        self.variant.as_deref().is_some_and(|variant| self.weights(variant).is_some())
    }

    fn weights(&self, variant: &str) -> Option<Weights> {
        STEMS.iter().find_map(|stem| {
            // With a variant, transformers, diffusers and older diffusers each place it elsewhere in an index's name.
            let (single, indexes) = match variant {
                "" => (format!("{stem}.safetensors"), vec![format!("{stem}.safetensors.index.json")]),
                _ => (
                    format!("{stem}.{variant}.safetensors"),
                    vec![
                        format!("{stem}.safetensors.{variant}.index.json"),
                        format!("{stem}.safetensors.index.{variant}.json"),
                        format!("{stem}.{variant}.safetensors.index.json"),
                    ],
                ),
            };
            let is_here = |name: &String| self.path.join(name).is_file();
            if is_here(&single) {
                return Some(Weights::Single(self.path.join(single)));
            }
            indexes.into_iter().find(is_here).map(Weights::Shards)
        })
    }
}

/// Where weights are: in one file, or in those that an index of this name lists.
enum Weights {
    Single(PathBuf),
    Shards(String),
}

/// Whether `name` stays in the folder that it is joined to, on every system.
pub(super) fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

/// Whether a file is named as those that torch pickles.
pub(super) fn is_pickle(path: &Path) -> bool {
    path.extension().is_some_and(|extension| PICKLES.iter().any(|pickle| extension == *pickle))
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
    match names.iter().find(|name| is_pickle(Path::new(name))) {
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
