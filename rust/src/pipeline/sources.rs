//! Where a pipeline's components come from.

use std::path::{Path, PathBuf};

use crate::checkpoint::{ComponentFolder, MappedTensors, ModelFiles, VaeFile};
use crate::error::Result;
use crate::models::AutoencoderConfig;
use crate::nn::weights::TensorSource;
use crate::schedulers::PredictionType;
use crate::tokenizer::{CLIP_PAD, ClipTokenizer, OPEN_CLIP_PAD};

/// What is not to be as the model's own files have it. A VAE is a folder with a `config.json` and safetensors weights, or
/// a safetensors file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Taken instead of the model's own VAE.
    pub vae: Option<PathBuf>,
    /// Makes the previews that would else be estimates.
    pub preview_vae: Option<PathBuf>,
    /// What the UNet predicts, where the model does not say it or says it wrongly.
    pub prediction_type: Option<PredictionType>,
    /// Which weights of a folder are preferred, such as `fp16`; else those of full precision.
    pub variant: Option<String>,
}

/// From the name that a file gives a tensor to the one that the model asks for.
pub(super) type Rename = fn(&str) -> Option<String>;

/// A component's tensors.
pub(super) struct Opened {
    pub tensors: Box<dyn TensorSource>,
    pub stored_dtype: &'static str,
}

impl Opened {
    /// Those of files.
    pub fn of(tensors: MappedTensors) -> Self {
        Self { stored_dtype: tensors.stored_dtype(), tensors: Box::new(tensors) }
    }
}

/// An autoencoder by itself.
enum VaeFiles {
    Folder(ComponentFolder),
    File(VaeFile),
}

impl VaeFiles {
    fn open(path: &Path, field: &str) -> Result<Self> {
        if path.is_file() {
            return VaeFile::open(path).map(Self::File);
        }
        ComponentFolder::open(path, field).map(Self::Folder)
    }

    fn tensors(&self) -> Result<MappedTensors> {
        match self {
            Self::Folder(folder) => MappedTensors::open(&folder.weight_files()?),
            Self::File(file) => Ok(file.tensors()),
        }
    }
}

/// A model and the autoencoders beside it.
pub(super) struct Sources {
    model: ModelFiles,
    vae: Option<VaeFiles>,
    preview_vae: Option<VaeFiles>,
}

impl Sources {
    pub fn open(path: &Path, overrides: &Overrides) -> Result<Self> {
        let open = |path: &Option<PathBuf>, field| path.as_deref().map(|path| VaeFiles::open(path, field)).transpose();
        Ok(Self {
            model: ModelFiles::open(path, overrides.variant.as_deref(), overrides.prediction_type)?,
            vae: open(&overrides.vae, "vae")?,
            preview_vae: open(&overrides.preview_vae, "preview_vae")?,
        })
    }

    pub fn model(&self) -> &ModelFiles {
        &self.model
    }

    /// Of the VAE that takes the place of the model's own.
    pub fn vae_config(&self) -> Result<Option<AutoencoderConfig>> {
        self.config("vae", self.vae.as_ref())
    }

    pub fn preview_vae_config(&self) -> Result<Option<AutoencoderConfig>> {
        self.config("preview_vae", self.preview_vae.as_ref())
    }

    fn config(&self, field: &str, vae: Option<&VaeFiles>) -> Result<Option<AutoencoderConfig>> {
        let config = match vae {
            None => return Ok(None),
            Some(VaeFiles::Folder(folder)) => folder.config()?,
            Some(VaeFiles::File(file)) => file.config(self.model.vae_scaling_factor()?),
        };
        AutoencoderConfig::from_json(field, None, &config).map(Some)
    }

    /// The tokenizer `name` of `text_encoder`: the model's own, or CLIP's where it brings none.
    pub fn tokenizer(&self, (text_encoder, name): (&str, &str)) -> Result<ClipTokenizer> {
        match &self.model {
            ModelFiles::Folder(folder) => ClipTokenizer::from_folder(&folder.tokenizer_dir(name)?),
            ModelFiles::File(file) => {
                ClipTokenizer::clip(if file.pads_as_open_clip(text_encoder)? { OPEN_CLIP_PAD } else { CLIP_PAD })
            }
        }
    }

    pub fn mapped(&self, component: &str, rename: Rename) -> Result<MappedTensors> {
        let tensors = match (component, &self.vae, &self.preview_vae) {
            ("vae", Some(vae), _) | ("preview_vae", _, Some(vae)) => vae.tensors()?,
            _ => self.model.tensors(component)?,
        };
        tensors.with_key_map(rename)
    }
}
