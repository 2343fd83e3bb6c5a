//! From files to a pipeline.

use std::path::Path;
use std::sync::OnceLock;

use candle_core::DType;

use super::Pipeline;
use super::encode::TextStage;
use super::engine::Engine;
use super::networks::{CandleVae, NativeVae, Networks, Target};
use super::sources::{Opened, Overrides, Sources};
use super::vae::{VaeSource, VaeStage};
use crate::allocator;
use crate::checkpoint::{RandomTensors, vae_key};
use crate::device;
use crate::error::{Error, Result};
use crate::family::{Published, StableDiffusion};
use crate::instruction_set::InstructionSet;
use crate::models::{AutoencoderConfig, ClipTextConfig};
use crate::reference;
use crate::threads::Threads;
use crate::tokenizer::ClipTokenizer;

/// Whether the tokenizer is the text encoder's, as far as can be told before there is a prompt: by the ids that every
/// prompt has, and by the length that diffusers cuts prompts to.
fn agree(tokenizer: &ClipTokenizer, (component, text_encoder, name): (&str, &ClipTextConfig, &str)) -> Result<()> {
    let window = text_encoder.max_position_embeddings;
    if let Some(length) = tokenizer.model_max_length().filter(|length| *length < window) {
        return Err(Error::Checkpoint(format!(
            "{name}: model_max_length is {length}, but the text encoder takes {window} tokens"
        )));
    }
    let vocab_size = text_encoder.vocab_size;
    for (token, id) in [("begin", tokenizer.bos_id()), ("end", tokenizer.eos_id()), ("padding", tokenizer.pad_id())] {
        if id as usize >= vocab_size {
            return Err(Error::Checkpoint(format!(
                "{component}: vocab_size is {vocab_size}, but the {name}'s {token} token has the id {id}"
            )));
        }
    }
    Ok(())
}

fn native_vae(
    component: &'static str,
    config: &AutoencoderConfig,
    open: impl Fn() -> Opened + Send + Sync + 'static,
    target: &Target,
) -> Result<VaeStage> {
    let vae = NativeVae { component, config: config.clone(), open: Box::new(open), target: target.clone() };
    vae_stage(vae, config, target)
}

fn vae_stage(vae: impl VaeSource + 'static, config: &AutoencoderConfig, target: &Target) -> Result<VaeStage> {
    VaeStage::new(Box::new(vae), device::float_dtype(target.dtype), config.scaling_factor(), &target.device)
}

impl Pipeline {
    /// Loads the model at `path`, a folder in diffusers' layout or a single file.
    ///
    /// `device` and `dtype` are as [`device::open`] and [`device::compute_dtype`] take them, `num_threads` as
    /// [`Threads::new`] does.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for an unknown device or dtype, [`Error::Device`] for one that is absent,
    /// [`Error::ModelNotFound`] and [`Error::Checkpoint`] for what is wrong with the files.
    pub fn load(path: &Path, device: &str, dtype: &str, engine: Engine, num_threads: Option<usize>) -> Result<Self> {
        Self::load_with(path, &Overrides::default(), device, dtype, engine, num_threads)
    }

    /// [`Pipeline::load`] with something else than the model's own files have.
    ///
    /// # Errors
    /// As there; [`Error::Checkpoint`] also for a VAE whose latents are not those of the model's UNet,
    /// [`Error::InvalidParams`] for a variant that the model has not.
    pub fn load_with(
        path: &Path,
        overrides: &Overrides,
        device: &str,
        dtype: &str,
        engine: Engine,
        num_threads: Option<usize>,
    ) -> Result<Self> {
        let threads = Threads::new(num_threads)?;
        threads.clone().run(|| Self::load_on(threads, path, overrides, device, dtype, engine))
    }

    fn load_on(
        threads: Threads,
        path: &Path,
        overrides: &Overrides,
        device: &str,
        dtype: &str,
        engine: Engine,
    ) -> Result<Self> {
        InstructionSet::check()?;
        let device = device::open(device)?;
        device::compute_dtype(&device, dtype, false)?;
        let sources = Sources::open(path, overrides)?;
        let mut model = StableDiffusion::from_files(sources.model(), sources.vae_config()?, overrides.prediction_type)?;
        let preview = sources.preview_vae_config()?;
        if let Some(preview) = &preview {
            model.check_preview_vae(preview)?;
        }
        if engine == Engine::Candle {
            model.defaults.deepcache_branches = 0;
            model.defaults.has_vae_tiles = false;
            model.defaults.max_clip_skip = 0;
            if !reference::encodes(&model.vae) {
                model.leave_out_images("the candle engine encodes only with a quant_conv")?;
            }
        }
        let tolerates_bf16 = engine == Engine::Native && model.tolerates_bf16();
        let dtype = device::compute_dtype(&device, dtype, tolerates_bf16)?;
        if engine == Engine::Candle && device.is_cpu() && dtype != DType::F32 {
            return Err(Error::invalid("dtype", device::dtype_name(dtype), "f32 for the engine candle on the CPU"));
        }
        let tokenizer = |encoder: (&str, &ClipTextConfig, &str)| {
            let tokenizer = sources.tokenizer((encoder.0, encoder.2))?;
            agree(&tokenizer, encoder)?;
            Ok(tokenizer)
        };
        let tokenizers = model.text_encoders().map(tokenizer).collect::<Result<_>>()?;
        let target = Target { device, dtype };
        let networks = match engine {
            Engine::Native => Networks::native(&target, &model, &|component, rename| {
                sources.mapped(component, rename).map(Opened::of)
            })?,
            Engine::Candle => {
                Networks::candle(&target, &model, &|component, rename| sources.mapped(component, rename))?
            }
        };
        let native_vae = |component, config: &AutoencoderConfig| {
            let tensors = sources.mapped(component, vae_key)?;
            native_vae(component, config, move || Opened::of(tensors.clone()), &target)
        };
        let vae = match (engine, &model.vae) {
            (Engine::Candle, AutoencoderConfig::Kl(config)) => {
                let (config, tensors) = (config.clone(), sources.mapped("vae", vae_key)?);
                vae_stage(CandleVae { config, tensors, target: target.clone() }, &model.vae, &target)?
            }
            _ => native_vae("vae", &model.vae)?,
        };
        let preview_vae = preview.map(|config| native_vae("preview_vae", &config)).transpose()?;
        Ok(Self::new(threads, model, tokenizers, networks, (vae, preview_vae), target, engine))
    }

    /// A model of a published shape with random weights, which takes the time and the memory of the published one and
    /// draws nothing worth seeing. Nothing is read or written.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] and [`Error::Device`] as [`Pipeline::load`].
    pub fn random(shape: Published, device: &str, dtype: &str, num_threads: Option<usize>) -> Result<Self> {
        let threads = Threads::new(num_threads)?;
        threads.clone().run(|| {
            InstructionSet::check()?;
            let (device, model) = (device::open(device)?, shape.model()?);
            let dtype = device::compute_dtype(&device, dtype, model.tolerates_bf16())?;
            let target = Target { device, dtype };
            let random = || Opened { tensors: Box::new(RandomTensors::default()), stored_dtype: "f32" };
            let networks = Networks::native(&target, &model, &|_, _| Ok(random()))?;
            let vae = native_vae("vae", &model.vae, random, &target)?;
            let tokenizers = model.text_encoders().map(|_| ClipTokenizer::of_bytes()).collect::<Result<_>>()?;
            Ok(Self::new(threads, model, tokenizers, networks, (vae, None), target, Engine::Native))
        })
    }

    fn new(
        threads: Threads,
        model: StableDiffusion,
        tokenizers: Vec<ClipTokenizer>,
        Networks { text_encoders, unet, residency }: Networks,
        (vae, preview_vae): (VaeStage, Option<VaeStage>),
        Target { device, dtype }: Target,
        engine: Engine,
    ) -> Self {
        allocator::release();
        let stages = tokenizers.into_iter().zip(text_encoders);
        Self {
            model,
            text: stages.map(|(tokenizer, encoder)| TextStage { tokenizer, encoder }).collect(),
            unet,
            vae,
            preview_vae,
            threads,
            device,
            dtype,
            engine,
            residency,
            resident_bytes: None,
            decode_cost: None,
            latent_colours: OnceLock::new(),
        }
    }
}
