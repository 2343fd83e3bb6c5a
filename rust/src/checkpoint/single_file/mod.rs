//! A model in one safetensors file, in the layout of the latent diffusion code that Stable Diffusion was published with.
//!
//! Everything is told by tensors and header, never by the file's name. Each component is offered as a diffusers folder would
//! have it: a configuration, and tensors under diffusers' names.

mod clip;
mod kind;
mod ldm_unet;
mod ldm_vae;
mod pickle;
mod schedule;
mod shapes;
mod vae;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::MappedTensors;
use super::names::Names;
use crate::error::{Error, Result};
use crate::files::{broken, shown};
use crate::nn::weights::TensorSource;
use crate::schedulers::PredictionType;
use kind::{Family, TextEncoder};
use schedule::Sampling;
pub use vae::VaeFile;

/// What published files hold beside a model: EMA weights, the noise schedule, training state, settings.
const RIDERS: [&str; 28] = [
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "betas",
    "cond_stage_key",
    "cond_stage_model.logit_scale",
    "cond_stage_model.text_projection",
    "conditioner.embedders.0.logit_scale",
    "conditioner.embedders.0.text_projection",
    "conditioner.embedders.1.logit_scale",
    "denoiser",
    "embedding_manager",
    "epoch",
    "global_step",
    "log_one_minus_alphas_cumprod",
    "logvar",
    "lvlb_weights",
    "model_ema",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "posterior_variance",
    "scale_factor",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "v_pred",
    "ztsnr",
];
/// Pixels along a side of a latent position, where the file has no VAE to tell it.
const VAE_FACTOR: usize = 8;
/// Names of tensors that an error lists.
const LISTED: usize = 20;

/// A model file. Its data is mapped and shared by its components; nothing of it is copied before a tensor is loaded.
pub struct SingleFile {
    shown: String,
    tensors: MappedTensors,
    components: BTreeMap<&'static str, Component>,
    sampling: Sampling,
    class_name: &'static str,
}

struct Component {
    names: Arc<Names>,
    config: Value,
    open_clip: bool,
}

impl SingleFile {
    /// Maps the file and finds out what it holds; no weights are read but one norm's, of Stable Diffusion 2. What the UNet
    /// predicts is not looked for where `prediction_type` says it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a pickle, for what is broken as [`MappedTensors::open`] says, for a file that holds
    /// something else than a model, which it names, and for tensors that no component knows.
    pub fn open(path: &Path, prediction_type: Option<PredictionType>) -> Result<Self> {
        let tensors = open(path)?;
        let shown = shown(path);
        if let Some(other) = kind::other(&tensors) {
            return Err(broken(&shown, format_args!("is {other}")));
        }
        let family = Family::of(&tensors).filter(|_| tensors.any_under(ldm_unet::PREFIX));
        let Some((family, text_encoders)) = family else {
            let reason = match kind::lone_component(&tensors) {
                Some(component) => format!("is {component}"),
                None => format!("is no model that is known here; its tensors begin with {:?}", listed(tensors.names())),
            };
            return Err(broken(&shown, reason));
        };
        let mut components = BTreeMap::new();
        if let Some((names, config)) = vae::find(&tensors, &ldm_vae::PREFIXES[..2])? {
            components.insert("vae", Component { names, config, open_clip: false });
        }
        for TextEncoder { component, prefix, open_clip } in text_encoders {
            let names = Arc::new(match open_clip {
                true => clip::open_clip(&tensors, prefix, family == Family::V2),
                false => clip::clip(&tensors, prefix),
            });
            let hidden_act = if open_clip { "gelu" } else { "quick_gelu" };
            let config = shapes::clip_text_model(component, &tensors.component(&names)?, hidden_act)?;
            components.insert(component, Component { names, config, open_clip });
        }
        let names = Arc::new(ldm_unet::names(&tensors));
        let unet = tensors.component(&names)?;
        let channels = |name, axis: usize| unet.shape(name).and_then(|shape| shape.get(axis).copied());
        let (inputs, outputs) = (channels("conv_in.weight", 1), channels("conv_out.weight", 0));
        let inpaints =
            inputs.zip(outputs).is_some_and(|(inputs, outputs)| inputs == outputs.saturating_mul(2).saturating_add(1));
        let sampling = Sampling::of(&tensors, family, inpaints, prediction_type)?;
        let factor = components.get("vae").map_or(VAE_FACTOR, |vae| factor(&vae.config));
        let config = shapes::unet(&unet, sampling.side() / factor, family == Family::Xl)?;
        components.insert("unet", Component { names, config, open_clip: false });
        let class_name = match (family, inpaints) {
            (Family::Xl, false) => "StableDiffusionXLPipeline",
            (Family::Xl, true) => "StableDiffusionXLInpaintPipeline",
            (_, false) => "StableDiffusionPipeline",
            (_, true) => "StableDiffusionInpaintPipeline",
        };
        let file = Self { shown, tensors, components, sampling, class_name };
        file.refuse_strangers()?;
        Ok(file)
    }

    fn refuse_strangers(&self) -> Result<()> {
        let belongs = |name: &str| {
            let below =
                |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            RIDERS.iter().any(|rider| below(rider))
                || self.components.values().any(|component| name.starts_with(component.names.prefix()))
        };
        let strangers: Vec<_> = self.tensors.names().into_iter().filter(|name| !belongs(name)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let reason = format!("{} tensors belong to no component: {:?}", strangers.len(), listed(strangers));
        Err(broken(&self.shown, reason))
    }

    /// The file by its last two parts.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The class of diffusers that runs such a model, such as `StableDiffusionPipeline`.
    pub fn class_name(&self) -> &str {
        self.class_name
    }

    /// Whether the file holds `component`, such as `unet`.
    pub fn has(&self, component: &str) -> bool {
        self.components.contains_key(component)
    }

    /// What `config.json` of `component` would be in a folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the file does not hold it.
    pub fn config(&self, component: &str) -> Result<Value> {
        let mut config = self.component(component)?.config.clone();
        if component == "vae" {
            config["scaling_factor"] = self.vae_scaling_factor().into();
        }
        Ok(config)
    }

    /// The scale of the latents that the UNet takes, which is its family's.
    pub fn vae_scaling_factor(&self) -> f64 {
        self.sampling.scaling_factor()
    }

    /// What `scheduler_config.json` would be.
    pub fn scheduler_config(&self) -> Value {
        self.sampling.scheduler_config()
    }

    /// The tensors of `component` under diffusers' names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the file does not hold it, or two tensors are one.
    pub fn tensors(&self, component: &str) -> Result<MappedTensors> {
        self.tensors.component(&self.component(component)?.names)
    }

    /// Whether the tokenizer of `component`, a text encoder, fills the window with `!` as OpenCLIP's does, not with the
    /// token that ends a text.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the file does not hold it.
    pub fn pads_as_open_clip(&self, component: &str) -> Result<bool> {
        Ok(self.component(component)?.open_clip)
    }

    fn component(&self, component: &str) -> Result<&Component> {
        self.components.get(component).ok_or_else(|| {
            let mend = if component == "vae" { "; give one as vae" } else { "" };
            Error::Checkpoint(format!("{}: has no {component}{mend}", self.shown))
        })
    }
}

/// Maps a file that may turn out to be anything.
fn open(path: &Path) -> Result<MappedTensors> {
    pickle::refuse(path)?;
    MappedTensors::open(&[path.to_path_buf()])
}

/// Pixels along a side of a latent position of an `AutoencoderKL`.
fn factor(vae: &Value) -> usize {
    let levels = vae["block_out_channels"].as_array().map_or(1, Vec::len);
    1 << levels.saturating_sub(1).min(16)
}

fn listed(names: Vec<String>) -> Vec<String> {
    let (count, mut names) = (names.len(), names);
    names.truncate(LISTED);
    if count > LISTED {
        names.push(format!("… {} more", count - LISTED));
    }
    names
}
