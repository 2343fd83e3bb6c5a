//! A model as diffusers saves it: `model_index.json` and one folder a component.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::component::{ComponentFolder, MAX_CONFIG_BYTES, is_plain_name};
use crate::error::{Error, Result};
use crate::files::{broken, read_json, read_text};

pub(super) const INDEX: &str = "model_index.json";

/// A model folder in diffusers layout. Errors name files relative to it.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    class_name: String,
    components: BTreeMap<String, Component>,
    index: BTreeMap<String, Value>,
    variant: Option<String>,
}

#[derive(Debug, Clone)]
struct Component {
    library: String,
    class: String,
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
        let components = components.collect();
        Ok(Self { path: path.to_path_buf(), class_name, components, index, variant: None })
    }

    /// The same folder, of whose weights those of `variant`, such as `fp16`, are preferred where a component has them.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if no component has any, or `variant` is no part of a file's name.
    pub fn with_variant(self, variant: &str) -> Result<Self> {
        let invalid = |allowed: &str| Error::invalid("variant", variant, allowed);
        if !is_plain_name(variant) {
            return Err(invalid("a part of a file's name, such as fp16"));
        }
        let folder = Self { variant: Some(variant.to_string()), ..self };
        let has = |name: &String| folder.component(name).is_ok_and(|component| component.has_variant());
        if folder.components.keys().any(has) {
            return Ok(folder);
        }
        Err(invalid("one that the model's files have"))
    }

    /// The folder, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pipeline's class, such as `StableDiffusionPipeline`.
    pub fn class_name(&self) -> &str {
        &self.class_name
    }

    /// A setting of the pipeline that is true or false; `default` where the model does not say it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for anything else.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.index.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(broken(INDEX, format_args!("{name} is neither true nor false"))),
        }
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

    /// The folder of `name`, such as `unet`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such folder.
    pub fn component(&self, name: &str) -> Result<ComponentFolder> {
        Ok(ComponentFolder::new(self.folder(name)?, name, self.variant.as_deref()))
    }

    /// [`ComponentFolder::config`] of `component`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as there, and if there is no such folder.
    pub fn config(&self, component: &str) -> Result<Value> {
        self.component(component)?.config()
    }

    /// The text of the scheduler's configuration: diffusers writes numbers into it that JSON does not have.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing, larger than 1 MiB, or not UTF-8.
    pub fn scheduler_config(&self) -> Result<String> {
        let (path, shown) = self.file("scheduler", "scheduler_config.json")?;
        read_text(&path, &shown, MAX_CONFIG_BYTES)
    }

    /// [`ComponentFolder::weight_files`] of `component`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as there, and if there is no such folder.
    pub fn weight_files(&self, component: &str) -> Result<Vec<PathBuf>> {
        self.component(component)?.weight_files()
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
