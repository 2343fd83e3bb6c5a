//! What a model is: its networks' shapes, its defaults, and how its latents are scaled, from its configurations alone.

mod published;

use serde_json::Value;

use crate::checkpoint::ModelFiles;
use crate::error::{Error, Result};
use crate::models::{AutoencoderConfig, ClipTextConfig, Fields, HiddenState, TILE_SIDE, UNet2DConditionConfig};
use crate::params::{Defaults, MAX_GUIDANCE, MAX_SIDE, MAX_STEPS, Task};
use crate::schedulers::{PredictionType, SchedulerConfig};
pub use published::Published;

/// First width of a UNet from which on products may be of bf16: that of the published models.
const BF16_WIDTH: usize = 320;
/// Steps of a model that does not say better, as in diffusers' pipelines.
const DEFAULT_STEPS: usize = 50;
/// Steps of a model that was distilled to need few.
const DISTILLED_STEPS: usize = 4;
/// Pipelines of these classes are read. Which one a model names decides nothing: its UNet says what it can do.
const CLASSES: [&str; 6] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
];

/// What the text encoders, the UNet and the sizes of a model belong to. Found from the UNet's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1 and 2, SD-Turbo: one text encoder.
    StableDiffusion,
    /// SDXL and SDXL-Turbo: two text encoders, pooled text and sizes.
    StableDiffusionXl,
}

impl Family {
    /// Guidance of a model that does not say better, as in diffusers' pipeline of the family.
    fn guidance_scale(self) -> f64 {
        match self {
            Self::StableDiffusion => 7.5,
            Self::StableDiffusionXl => 5.0,
        }
    }

    /// How much is drawn anew of a picture, and of one with a mask, as in diffusers' pipelines of the family.
    fn strengths(self) -> (f64, f64) {
        match self {
            Self::StableDiffusion => (0.8, 1.0),
            Self::StableDiffusionXl => (0.3, 0.9999),
        }
    }

    /// Layers of a text encoder that come after the hidden state that the UNet was trained on, and whether that is
    /// normed.
    pub fn hidden_state(self) -> HiddenState {
        match self {
            Self::StableDiffusion => HiddenState { skipped: 0, normed: true },
            Self::StableDiffusionXl => HiddenState { skipped: 1, normed: false },
        }
    }
}

/// The configurations of a model's parts, as diffusers stores them.
#[derive(Debug, Clone)]
pub struct Configs {
    /// Of the `CLIPTextModel`.
    pub text_encoder: Value,
    /// Of the `CLIPTextModelWithProjection`.
    pub text_encoder_2: Option<Value>,
    /// Of the `UNet2DConditionModel`.
    pub unet: Value,
    /// Of the autoencoder.
    pub vae: AutoencoderConfig,
    /// The sampling schedule.
    pub scheduler: SchedulerConfig,
    /// Whether no negative prompt means embeddings of zeros.
    pub force_zeros_for_empty_prompt: bool,
}

/// A model of Stable Diffusion's kind: CLIP text encoders, a UNet and a VAE.
#[derive(Debug, Clone)]
pub struct StableDiffusion {
    /// What it belongs to.
    pub family: Family,
    /// The text encoder's shape.
    pub text_encoder: ClipTextConfig,
    /// The second one's, which also gives the pooled text.
    pub text_encoder_2: Option<ClipTextConfig>,
    /// Whether no negative prompt means embeddings of zeros, not of the empty prompt.
    pub force_zeros_for_empty_prompt: bool,
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
    /// Reads all configurations of `files` and checks that they fit together; `vae` and `prediction_type` take
    /// the place of its own.
    ///
    /// A `generation_config.json` beside `model_index.json` may set `num_inference_steps` and `guidance_scale`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a pipeline of another kind, and for what is absurd, unsupported or contradictory.
    pub fn from_files(
        files: &ModelFiles,
        vae: Option<AutoencoderConfig>,
        prediction_type: Option<PredictionType>,
    ) -> Result<Self> {
        if !CLASSES.contains(&files.class_name()) {
            return Err(Error::Checkpoint(format!(
                "{}: the pipeline is {}, supported are {}",
                files.shown(),
                files.class_name(),
                CLASSES.join(", ")
            )));
        }
        let has_second = files.has("text_encoder_2");
        if has_second && !files.has("text_encoder") {
            return Err(Error::Checkpoint(
                "model_index.json: the model has no text_encoder, as refiners have none; only base models are read"
                    .into(),
            ));
        }
        let mut scheduler = SchedulerConfig::parse(&files.scheduler_config()?)?;
        scheduler.prediction_type = prediction_type.unwrap_or(scheduler.prediction_type);
        let configs = Configs {
            text_encoder: files.config("text_encoder")?,
            text_encoder_2: has_second.then(|| files.config("text_encoder_2")).transpose()?,
            unet: files.config("unet")?,
            vae: match vae {
                Some(vae) => vae,
                None => AutoencoderConfig::from_json("vae", files.component_class("vae"), &files.config("vae")?)?,
            },
            scheduler,
            force_zeros_for_empty_prompt: files.flag("force_zeros_for_empty_prompt", true)?,
        };
        let mut model = Self::from_configs(configs)?;
        model.defaults = generation_config(&files.generation_config()?, model.defaults)?;
        Ok(model)
    }

    /// Checks that configurations fit together.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for what is absurd, unsupported or contradictory.
    pub fn from_configs(configs: Configs) -> Result<Self> {
        let Configs { vae, scheduler, .. } = configs;
        let unet = UNet2DConditionConfig::from_json(&configs.unet)?;
        let text_encoder = ClipTextConfig::from_json("text_encoder", &configs.text_encoder)?;
        let second = configs.text_encoder_2.as_ref();
        let text_encoder_2 =
            second.map(|config| ClipTextConfig::with_projection("text_encoder_2", config)).transpose()?;
        let family = match unet.addition_embed {
            Some(_) => Family::StableDiffusionXl,
            None => Family::StableDiffusion,
        };
        check_text_encoders(&unet, &text_encoder, text_encoder_2.as_ref())?;
        let scheduler = match family {
            Family::StableDiffusion => scheduler.mended_for_stable_diffusion(),
            Family::StableDiffusionXl => scheduler,
        };
        let tasks = tasks(unet.in_channels, vae.latent_channels())?;
        agree(("unet: out_channels", unet.out_channels), ("vae: latent_channels", vae.latent_channels()))?;
        let side = unet.sample_size * vae.factor();
        if side > MAX_SIDE {
            let (latents, factor) = (unet.sample_size, vae.factor());
            return Err(Error::Checkpoint(format!(
                "unet: sample_size is {latents}, supported is 1 to {} with the vae's factor of {factor}",
                MAX_SIDE / factor
            )));
        }
        let layers = text_encoder_2.as_ref().map_or(usize::MAX, |config| config.num_hidden_layers);
        let layers = layers.min(text_encoder.num_hidden_layers);
        let distilled = scheduler.is_of_turbo();
        let defaults = Defaults {
            size_multiple: vae.factor(),
            height: side,
            width: side,
            num_inference_steps: if distilled { DISTILLED_STEPS } else { DEFAULT_STEPS },
            guidance_scale: if distilled { 0.0 } else { family.guidance_scale() },
            deepcache_branches: unet.deepcache_branches(),
            has_vae_tiles: true,
            max_clip_skip: layers.saturating_sub(family.hidden_state().skipped),
            tasks,
            image_to_image_strength: family.strengths().0,
            inpaint_strength: family.strengths().1,
        };
        let force_zeros_for_empty_prompt = configs.force_zeros_for_empty_prompt && family == Family::StableDiffusionXl;
        Ok(Self { family, text_encoder, text_encoder_2, force_zeros_for_empty_prompt, unet, vae, scheduler, defaults })
    }

    /// The text encoders in diffusers' order, each with its shape and the folder of its tokenizer.
    pub fn text_encoders(&self) -> impl Iterator<Item = (&'static str, &ClipTextConfig, &'static str)> {
        let second = self.text_encoder_2.as_ref().map(|config| ("text_encoder_2", config, "tokenizer_2"));
        std::iter::once(("text_encoder", &self.text_encoder, "tokenizer")).chain(second)
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

    /// [`StableDiffusion::decode_bytes`] and [`StableDiffusion::encode_bytes`] in tiles.
    pub fn tiled_bytes(&self, height: usize, width: usize) -> u64 {
        let (tile, whole) = self.vae.tiled_channels();
        let of_tile = TILE_SIDE + TILE_SIDE / 8;
        let positions = tile * height.min(of_tile) * width.min(of_tile) + (whole * (height * width) as f64) as usize;
        (positions * size_of::<f32>()) as u64
    }

    /// Says that no picture can be encoded, for the reason `why`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where nothing is left that the model can do.
    pub fn leave_out_images(&mut self, why: &str) -> Result<()> {
        if !self.defaults.tasks.contains(&Task::TextToImage) {
            return Err(Error::Checkpoint(format!("vae: {why}, and this model takes nothing but pictures")));
        }
        self.defaults.tasks = &[Task::TextToImage];
        Ok(())
    }

    /// Channels that the UNet takes behind the latents: none, or the mask and the latents of what it leaves.
    pub fn inpainting_channels(&self) -> usize {
        self.unet.in_channels - self.vae.latent_channels()
    }

    /// Bytes that the encoder's activations take at this size, about, beside small ones.
    pub fn encode_bytes(&self, height: usize, width: usize) -> u64 {
        4 * (self.vae.encoder_width() * height * width * size_of::<f32>()) as u64
    }

    /// Bytes that the decoder's activations take at this size, about, beside small ones.
    pub fn decode_bytes(&self, height: usize, width: usize) -> u64 {
        (self.vae.decoder_channels() * height * width * size_of::<f32>()) as u64
    }
}

/// What a UNet of so many channels does with latents of so many.
fn tasks(in_channels: usize, latent_channels: usize) -> Result<&'static [Task]> {
    let inpaints = 2 * latent_channels + 1;
    if in_channels == latent_channels {
        Ok(&Task::ALL)
    } else if in_channels == inpaints {
        Ok(&[Task::Inpaint])
    } else {
        Err(Error::Checkpoint(format!(
            "unet: in_channels is {in_channels}, but vae: latent_channels is {latent_channels}, \
             which takes {latent_channels} or, to inpaint, {inpaints}"
        )))
    }
}

fn agree(left: (&str, usize), right: (&str, usize)) -> Result<()> {
    if left.1 == right.1 {
        return Ok(());
    }
    Err(Error::Checkpoint(format!("{} is {}, but {} is {}", left.0, left.1, right.0, right.1)))
}

/// Whether the UNet takes what the text encoders give.
fn check_text_encoders(
    unet: &UNet2DConditionConfig,
    text_encoder: &ClipTextConfig,
    text_encoder_2: Option<&ClipTextConfig>,
) -> Result<()> {
    let width = ("unet: cross_attention_dim", unet.cross_attention_dim);
    match (unet.addition_embed, text_encoder_2) {
        (None, None) => agree(width, ("text_encoder: hidden_size", text_encoder.hidden_size)),
        (Some(added), Some(second)) => {
            agree(width, ("the text encoders' hidden_size together", text_encoder.hidden_size + second.hidden_size))?;
            let window = ("text_encoder_2: max_position_embeddings", second.max_position_embeddings);
            agree(window, ("text_encoder: max_position_embeddings", text_encoder.max_position_embeddings))?;
            agree(
                ("unet: the width of pooled text", added.pooled_width()),
                ("text_encoder_2: projection_dim", second.projection_dim.unwrap_or_default()),
            )
        }
        (Some(_), None) => Err(Error::Checkpoint(
            "unet: addition_embed_type is text_time, but the model has no text_encoder_2 for the pooled text".into(),
        )),
        (None, Some(_)) => Err(Error::Checkpoint(
            "the model has a text_encoder_2, but its unet takes no pooled text: addition_embed_type is null".into(),
        )),
    }
}

fn generation_config(value: &Value, defaults: Defaults) -> Result<Defaults> {
    let fields = Fields::new("generation_config.json", value)?;
    Ok(Defaults {
        num_inference_steps: fields.size("num_inference_steps", defaults.num_inference_steps, 1..=MAX_STEPS)?,
        guidance_scale: fields.number("guidance_scale", defaults.guidance_scale, 0.0..=MAX_GUIDANCE)?,
        ..defaults
    })
}
