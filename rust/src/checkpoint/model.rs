//! A model as it was given: a folder or a file.

use std::path::Path;

use serde_json::{Value, json};

use super::component::MAX_CONFIG_BYTES;
use super::{MappedTensors, ModelFolder, SingleFile};
use crate::error::{Error, Result};
use crate::files::read_optional_json;
use crate::schedulers::PredictionType;

const GENERATION_CONFIG: &str = "generation_config.json";
/// `scaling_factor` of Stable Diffusion 1 and 2, and of diffusers' `AutoencoderKL` where nothing is said.
pub(super) const SCALING_FACTOR: f64 = 0.18215;
/// `scaling_factor` of SDXL.
pub(super) const XL_SCALING_FACTOR: f64 = 0.13025;

/// A model, with one configuration and one set of tensors a component wherever they are kept.
pub enum ModelFiles {
    /// A folder in diffusers layout.
    Folder(ModelFolder),
    /// A single file.
    File(Box<SingleFile>),
}

impl ModelFiles {
    /// Opens the folder or the file at `path`; `variant` is as [`ModelFolder::with_variant`] takes it, `prediction_type` as
    /// [`SingleFile::open`].
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] and [`Error::Checkpoint`] as [`ModelFolder::open`] and [`SingleFile::open`],
    /// [`Error::InvalidParams`] for a variant that is not there; a file has none.
    pub fn open(path: &Path, variant: Option<&str>, prediction_type: Option<PredictionType>) -> Result<Self> {
        match (path.is_file(), variant) {
            (true, None) => Ok(Self::File(Box::new(SingleFile::open(path, prediction_type)?))),
            (true, Some(variant)) => Err(Error::invalid("variant", variant, "none for a single file")),
            (false, None) => ModelFolder::open(path).map(Self::Folder),
            (false, Some(variant)) => ModelFolder::open(path)?.with_variant(variant).map(Self::Folder),
        }
    }

    /// The class of diffusers that runs the model, such as `StableDiffusionPipeline`.
    pub fn class_name(&self) -> &str {
        match self {
            Self::Folder(folder) => folder.class_name(),
            Self::File(file) => file.class_name(),
        }
    }

    /// The file to name in errors about what the model is.
    pub fn shown(&self) -> &str {
        match self {
            Self::Folder(_) => super::folder::INDEX,
            Self::File(file) => file.shown(),
        }
    }

    /// Whether the model has `component`, such as `text_encoder_2`.
    pub fn has(&self, component: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.has(component),
            Self::File(file) => file.has(component),
        }
    }

    /// A setting of the pipeline, `default` where it is absent.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is neither true nor false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self {
            Self::Folder(folder) => folder.flag(name, default),
            Self::File(_) => Ok(default),
        }
    }

    /// The class of `component` where the model says it beside the component's own configuration.
    pub fn component_class(&self, component: &str) -> Option<&str> {
        match self {
            Self::Folder(folder) => folder.component_class(component),
            Self::File(_) => None,
        }
    }

    /// The configuration of `component`, such as `unet`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is missing or cannot be made sense of.
    pub fn config(&self, component: &str) -> Result<Value> {
        match self {
            Self::Folder(folder) => folder.config(component),
            Self::File(file) => file.config(component),
        }
    }

    /// The text of the scheduler's configuration.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`ModelFolder::scheduler_config`].
    pub fn scheduler_config(&self) -> Result<String> {
        match self {
            Self::Folder(folder) => folder.scheduler_config(),
            Self::File(file) => Ok(file.scheduler_config().to_string()),
        }
    }

    /// What `generation_config.json` says beside `model_index.json`, an empty object where there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be read.
    pub fn generation_config(&self) -> Result<Value> {
        let config = match self {
            Self::Folder(folder) => {
                read_optional_json(&folder.path().join(GENERATION_CONFIG), GENERATION_CONFIG, MAX_CONFIG_BYTES)?
            }
            Self::File(_) => None,
        };
        Ok(config.unwrap_or_else(|| json!({})))
    }

    /// The scale of the latents that the UNet takes, which is that of the model's own VAE.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the VAE's configuration cannot be read.
    pub fn vae_scaling_factor(&self) -> Result<f64> {
        match self {
            Self::Folder(folder) if folder.has("vae") => {
                Ok(folder.config("vae")?["scaling_factor"].as_f64().unwrap_or(SCALING_FACTOR))
            }
            Self::Folder(folder) if folder.has("text_encoder_2") => Ok(XL_SCALING_FACTOR),
            Self::Folder(_) => Ok(SCALING_FACTOR),
            Self::File(file) => Ok(file.vae_scaling_factor()),
        }
    }

    /// The tensors of `component`; those of a folder under the names that they are stored with.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they are missing or broken.
    pub fn tensors(&self, component: &str) -> Result<MappedTensors> {
        match self {
            Self::Folder(folder) => MappedTensors::open(&folder.weight_files(component)?),
            Self::File(file) => file.tensors(component),
        }
    }
}
