//! A VAE in a file: by itself in either layout, or that of a whole model.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{ldm_vae, shapes};
use crate::checkpoint::MappedTensors;
use crate::checkpoint::keys::vae_key;
use crate::checkpoint::names::Names;
use crate::error::Result;
use crate::files::{broken, shown};
use crate::nn::weights::TensorSource;

/// A safetensors file that holds a VAE.
pub struct VaeFile {
    tensors: MappedTensors,
    config: Value,
}

impl VaeFile {
    /// Maps the file and finds out which VAE it holds: an `AutoencoderKL` in latent diffusion's layout, by itself or in a
    /// whole model, or in diffusers', or an `AutoencoderTiny` in diffusers' layout and of TAESD's shape.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] as [`super::SingleFile::open`], and for a file without a VAE.
    pub fn open(path: &Path) -> Result<Self> {
        let tensors = super::open(path)?;
        if let Some((names, config)) = find(&tensors, &ldm_vae::PREFIXES)? {
            return Ok(Self { tensors: tensors.component(&names)?, config });
        }
        let tensors = tensors.with_key_map(vae_key)?;
        let config = if tensors.any_under("decoder.up_blocks.") {
            shapes::autoencoder_kl(&tensors)?
        } else if let Some([_, latent_channels, ..]) = tensors.shape("decoder.layers.0.weight").as_deref() {
            json!({"_class_name": "AutoencoderTiny", "latent_channels": latent_channels})
        } else {
            let reason =
                super::kind::other(&tensors).map_or_else(|| "holds no VAE".into(), |kind| format!("is {kind}"));
            return Err(broken(&shown(path), reason));
        };
        Ok(Self { tensors, config })
    }

    /// What its `config.json` would be. An `AutoencoderKL`'s `scaling_factor`, which no file tells, is
    /// `scaling_factor`: that of the model that the VAE is to serve.
    pub fn config(&self, scaling_factor: f64) -> Value {
        let mut config = self.config.clone();
        if config["_class_name"] == "AutoencoderKL" {
            config["scaling_factor"] = scaling_factor.into();
        }
        config
    }

    /// Its tensors under diffusers' names.
    pub fn tensors(&self) -> MappedTensors {
        self.tensors.clone()
    }
}

/// The VAE in latent diffusion's layout under one of `prefixes`, if there is one: its names and its configuration.
pub(super) fn find(tensors: &MappedTensors, prefixes: &[&str]) -> Result<Option<(Arc<Names>, Value)>> {
    let Some(prefix) = prefixes.iter().find(|prefix| ldm_vae::is_under(tensors, prefix)) else { return Ok(None) };
    let names = Arc::new(ldm_vae::names(tensors, prefix));
    let config = shapes::autoencoder_kl(&tensors.component(&names)?)?;
    Ok(Some((names, config)))
}
