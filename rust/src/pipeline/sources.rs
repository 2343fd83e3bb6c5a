//! Where a pipeline's components come from.

use std::path::{Path, PathBuf};

use crate::checkpoint::{ComponentFolder, MappedTensors, ModelFolder};
use crate::error::Result;
use crate::models::AutoencoderConfig;
use crate::nn::weights::TensorSource;

/// Folders of autoencoders, each with a `config.json` and safetensors weights.
#[derive(Debug, Clone, Default)]
pub struct VaeFolders {
    /// Taken instead of the model's own.
    pub vae: Option<PathBuf>,
    /// Makes the previews that would else be estimates.
    pub preview_vae: Option<PathBuf>,
}

/// From the name that a file gives a tensor to the one that the model asks for.
pub(super) type Rename = fn(&str) -> Option<String>;

/// A component's tensors.
pub(super) struct Opened {
    pub tensors: Box<dyn TensorSource>,
    pub stored_dtype: &'static str,
}

/// A model folder and the autoencoders beside it.
pub(super) struct Sources {
    model: ModelFolder,
    vae: Option<ComponentFolder>,
    preview_vae: Option<ComponentFolder>,
}

impl Sources {
    pub fn open(path: &Path, vaes: &VaeFolders) -> Result<Self> {
        let open =
            |path: &Option<PathBuf>, field| path.as_deref().map(|path| ComponentFolder::open(path, field)).transpose();
        Ok(Self {
            model: ModelFolder::open(path)?,
            vae: open(&vaes.vae, "vae")?,
            preview_vae: open(&vaes.preview_vae, "preview_vae")?,
        })
    }

    pub fn model(&self) -> &ModelFolder {
        &self.model
    }

    /// Of the VAE that takes the place of the model's own.
    pub fn vae_config(&self) -> Result<Option<AutoencoderConfig>> {
        config("vae", self.vae.as_ref())
    }

    pub fn preview_vae_config(&self) -> Result<Option<AutoencoderConfig>> {
        config("preview_vae", self.preview_vae.as_ref())
    }

    pub fn mapped(&self, component: &str, rename: Rename) -> Result<MappedTensors> {
        let files = match (component, &self.vae, &self.preview_vae) {
            ("vae", Some(folder), _) | ("preview_vae", _, Some(folder)) => folder.weight_files()?,
            _ => self.model.weight_files(component)?,
        };
        MappedTensors::open(&files)?.with_key_map(rename)
    }

    pub fn open_component(&self, component: &str, rename: Rename) -> Result<Opened> {
        let tensors = self.mapped(component, rename)?;
        let stored_dtype = tensors.stored_dtype();
        Ok(Opened { tensors: Box::new(tensors), stored_dtype })
    }
}

fn config(field: &str, folder: Option<&ComponentFolder>) -> Result<Option<AutoencoderConfig>> {
    folder.map(|folder| AutoencoderConfig::from_json(field, None, &folder.config()?)).transpose()
}
