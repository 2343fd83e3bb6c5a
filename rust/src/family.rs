//! What a model is: its networks' shapes, its defaults, and how its latents are scaled, from its configurations alone.

mod published;

use serde_json::Value;

use crate::checkpoint::ModelFiles;
use crate::error::{Error, Result};
use crate::models::{AutoencoderConfig, ClipTextConfig, Fields, UNet2DConditionConfig};
use crate::params::{Defaults, MAX_GUIDANCE, MAX_SIDE, MAX_STEPS};
use crate::schedulers::SchedulerConfig;
pub use published::Published;

/// First width of a UNet from which on products may be of bf16: that of the published models.
const BF16_WIDTH: usize = 320;
/// Steps of a model that does not say better, as in diffusers' `StableDiffusionPipeline`.
const DEFAULT_STEPS: usize = 50;
/// Guidance of a model that does not say better, as in diffusers' `StableDiffusionPipeline`.
const DEFAULT_GUIDANCE: f64 = 7.5;

/// A text-to-image model of the Stable Diffusion 1 and 2 kind: one CLIP text encoder, a UNet and a VAE.
#[derive(Debug, Clone)]
pub struct StableDiffusion {
    /// The text encoder's shape.
    pub text_encoder: ClipTextConfig,
    /// The UNet's shape.
    pub unet: UNet2DConditionConfig,
    /// The VAE's shape and scale.
    pub vae: AutoencoderConfig,
    /// The sampling schedule that the model was trained for.
    pub scheduler: SchedulerConfig,
    /// What a request may leave open.
    pub defaults: Defaults,
}

impl StableDiffusion {
    /// Reads all configurations of `files` and checks that they fit together; `vae` takes the place of its own.
    ///
    /// A `generation_config.json` beside `model_index.json` may set `num_inference_steps` and `guidance_scale`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a pipeline of another kind, and for what is absurd, unsupported or contradictory.
    pub fn from_files(files: &ModelFiles, vae: Option<AutoencoderConfig>) -> Result<Self> {
        if files.class_name() != "StableDiffusionPipeline" {
            return Err(Error::Checkpoint(format!(
                "{}: the pipeline is {}, supported is StableDiffusionPipeline",
                files.shown(),
                files.class_name()
            )));
        }
        let networks = [files.config("text_encoder")?, files.config("unet")?];
        let vae = match vae {
            Some(vae) => vae,
            None => AutoencoderConfig::from_json("vae", files.component_class("vae"), &files.config("vae")?)?,
        };
        let scheduler = SchedulerConfig::parse(&files.scheduler_config()?)?;
        Self::from_configs(networks.each_ref(), vae, scheduler, generation_config(&files.generation_config()?)?)
    }

    fn from_configs(
        [text_encoder, unet]: [&Value; 2],
        vae: AutoencoderConfig,
        scheduler: SchedulerConfig,
        (num_inference_steps, guidance_scale): (usize, f64),
    ) -> Result<Self> {
        let text_encoder = ClipTextConfig::from_json(text_encoder)?;
        let unet = UNet2DConditionConfig::from_json(unet)?;
        let scheduler = scheduler.mended_for_stable_diffusion();
        agree(
            ("unet: cross_attention_dim", unet.cross_attention_dim),
            ("text_encoder: hidden_size", text_encoder.hidden_size),
        )?;
        agree(("unet: in_channels", unet.in_channels), ("vae: latent_channels", vae.latent_channels()))?;
        agree(("unet: out_channels", unet.out_channels), ("vae: latent_channels", vae.latent_channels()))?;
        let side = unet.sample_size * vae.factor();
        if side > MAX_SIDE {
            let (latents, factor) = (unet.sample_size, vae.factor());
            return Err(Error::Checkpoint(format!(
                "unet: sample_size is {latents}, supported is 1 to {} with the vae's factor of {factor}",
                MAX_SIDE / factor
            )));
        }
        let defaults = Defaults {
            size_multiple: vae.factor(),
            height: side,
            width: side,
            num_inference_steps,
            guidance_scale,
            deepcache_branches: unet.deepcache_branches(),
        };
        Ok(Self { text_encoder, unet, vae, scheduler, defaults })
    }

    /// Whether `preview` can decode this model's latents.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for other channels or another factor than the VAE's.
    pub fn check_preview_vae(&self, preview: &AutoencoderConfig) -> Result<()> {
        agree(
            ("preview_vae: latent_channels", preview.latent_channels()),
            ("vae: latent_channels", self.vae.latent_channels()),
        )?;
        agree(("preview_vae: the factor", preview.factor()), ("the vae's", self.vae.factor()))
    }

    /// Whether products of bf16 change a picture by no more than an eye can miss: networks of the published widths average
    /// their roundings away, narrow ones do not, and are fast without.
    pub fn tolerates_bf16(&self) -> bool {
        self.unet.block_out_channels[0] >= BF16_WIDTH
    }

    /// Channels, height and width of the latents of a picture.
    pub fn latent_shape(&self, height: usize, width: usize) -> (usize, usize, usize) {
        (self.vae.latent_channels(), height / self.vae.factor(), width / self.vae.factor())
    }

    /// Bytes that the decoder's widest activations take at this size, about, when computing in f32.
    pub fn decode_bytes(&self, height: usize, width: usize) -> u64 {
        4 * (self.vae.widest() * height * width * size_of::<f32>()) as u64
    }
}

fn agree(left: (&str, usize), right: (&str, usize)) -> Result<()> {
    if left.1 == right.1 {
        return Ok(());
    }
    Err(Error::Checkpoint(format!("{} is {}, but {} is {}", left.0, left.1, right.0, right.1)))
}

fn generation_config(value: &Value) -> Result<(usize, f64)> {
    let fields = Fields::new("generation_config.json", value)?;
    Ok((
        fields.size("num_inference_steps", DEFAULT_STEPS, 1..=MAX_STEPS)?,
        fields.number("guidance_scale", DEFAULT_GUIDANCE, 0.0..=MAX_GUIDANCE)?,
    ))
}
