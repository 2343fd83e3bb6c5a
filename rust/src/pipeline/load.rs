//! From files to a pipeline.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device};

use super::Pipeline;
use super::encode::TextStage;
use super::sources::{Opened, Overrides, Rename, Sources};
use super::vae::{Loaded as LoadedVae, VaeStage};
use crate::allocator;
use crate::checkpoint::{MappedTensors, RandomTensors, clip_text_key, vae_key};
use crate::device::{self, Residency};
use crate::error::{Error, Result};
use crate::family::{Published, StableDiffusion};
use crate::instruction_set::InstructionSet;
use crate::models::{
    Autoencoder, AutoencoderConfig, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, Denoiser, TextEncoder,
    UNet2DConditionModel,
};
use crate::nn::Weights;
use crate::nn::weights::{Loaded, TensorSource};
use crate::reference;
use crate::threads::Threads;
use crate::tokenizer::ClipTokenizer;

/// Whose networks compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// This crate's.
    Native,
    /// candle-transformers', for comparison; see [`crate::reference`].
    Candle,
}

impl Engine {
    /// The name that [`Engine::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Candle => "candle",
        }
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "native" => Ok(Self::Native),
            "candle" => Ok(Self::Candle),
            _ => Err(Error::invalid("engine", name, "native or candle")),
        }
    }
}

type Open = Arc<dyn Fn(&str, Rename) -> Result<Opened> + Send + Sync>;

struct Loader {
    open: Open,
    device: Device,
    dtype: DType,
    residency: Vec<Residency>,
}

impl Loader {
    /// Builds one of this crate's networks and accounts for every tensor of its files.
    fn native<Model>(
        &mut self,
        component: &'static str,
        rename: Rename,
        build: impl FnOnce(&Weights) -> Result<Model>,
    ) -> Result<Model> {
        let Opened { tensors, stored_dtype } = (self.open)(component, rename)?;
        // Quantising pays where the time goes.
        let dtype = if component == "unet" { self.dtype } else { device::float_dtype(self.dtype) };
        let weights = Weights::new(tensors, dtype, &self.device);
        let model = build(&weights)?;
        let loaded = weights.finish(component)?;
        let storage = if weights.products().is_some() { "packed" } else { "copied" };
        self.note(component, dtype, stored_dtype, loaded, storage);
        Ok(model)
    }

    /// Builds one of candle's networks.
    fn candle<Model>(
        &mut self,
        component: &'static str,
        tensors: &MappedTensors,
        build: impl FnOnce(&MappedTensors, DType, &Device) -> Result<Model>,
    ) -> Result<Model> {
        let model = build(tensors, self.dtype, &self.device)?;
        let names = tensors.names();
        let elements: usize =
            names.iter().filter_map(|name| tensors.shape(name)).map(|s| s.iter().product::<usize>()).sum();
        let loaded = Loaded { tensors: names.len(), bytes: elements * self.dtype.size_in_bytes() };
        self.note(component, self.dtype, tensors.stored_dtype(), loaded, "copied");
        Ok(model)
    }

    /// The VAE that was loaded alone.
    fn loaded_vae(mut self, network: Box<dyn Autoencoder>) -> Result<LoadedVae> {
        match self.residency.pop() {
            Some(residency) => Ok(LoadedVae { network: network.into(), residency }),
            None => Err(Error::Inference("a VAE was loaded from nowhere".into())),
        }
    }

    fn note(
        &mut self,
        component: &'static str,
        dtype: DType,
        stored_dtype: &'static str,
        loaded: Loaded,
        storage: &'static str,
    ) {
        self.residency.push(Residency {
            component,
            device: device::name(&self.device),
            dtype: device::dtype_name(dtype),
            stored_dtype,
            tensors: loaded.tensors,
            bytes: loaded.bytes,
            storage,
        });
    }
}

fn as_stored(name: &str) -> Option<String> {
    Some(name.to_string())
}

struct Networks {
    text_encoders: Vec<Box<dyn TextEncoder>>,
    unet: Box<dyn Denoiser>,
}

fn native(loader: &mut Loader, model: &StableDiffusion) -> Result<Networks> {
    Ok(Networks {
        text_encoders: native_text_encoders(loader, model)?,
        unet: Box::new(loader.native("unet", as_stored, |weights| UNet2DConditionModel::new(weights, &model.unet))?),
    })
}

fn native_text_encoders(loader: &mut Loader, model: &StableDiffusion) -> Result<Vec<Box<dyn TextEncoder>>> {
    let encoder = |(component, config, _): (_, &ClipTextConfig, _)| {
        let model = loader.native(component, clip_text_key, |weights| ClipTextModel::new(weights, config.clone()))?;
        Ok(Box::new(model) as Box<dyn TextEncoder>)
    };
    model.text_encoders().map(encoder).collect()
}

/// A VAE of this crate, which can be loaded again in another dtype.
fn native_vae(loader: &Loader, component: &'static str, config: AutoencoderConfig) -> Result<VaeStage> {
    let (open, device, scaling_factor) = (loader.open.clone(), loader.device.clone(), config.scaling_factor());
    let load = move |dtype| {
        let mut loader = Loader { open: open.clone(), device: device.clone(), dtype, residency: Vec::new() };
        let network = loader.native(component, vae_key, |weights| config.build(weights))?;
        loader.loaded_vae(network)
    };
    VaeStage::new(Box::new(load), device::float_dtype(loader.dtype), scaling_factor, &loader.device)
}

/// The same of candle.
fn candle_vae(loader: &Loader, sources: &Arc<Sources>, config: AutoencoderKlConfig) -> Result<VaeStage> {
    let (open, device, scaling_factor) = (loader.open.clone(), loader.device.clone(), config.scaling_factor);
    let sources = sources.clone();
    let load = move |dtype| {
        let mut loader = Loader { open: open.clone(), device: device.clone(), dtype, residency: Vec::new() };
        let network = loader.candle("vae", &sources.mapped("vae", vae_key)?, |tensors, dtype, device| {
            reference::Vae::new(tensors, &config, dtype, device)
        })?;
        loader.loaded_vae(Box::new(network))
    };
    VaeStage::new(Box::new(load), loader.dtype, scaling_factor, &loader.device)
}

fn candle(loader: &mut Loader, sources: &Sources, model: &StableDiffusion) -> Result<Networks> {
    Ok(Networks {
        text_encoders: match reference::Clip::preset(&model.text_encoder).filter(|_| model.text_encoder_2.is_none()) {
            Some(preset) => vec![Box::new(loader.candle(
                "text_encoder",
                &sources.mapped("text_encoder", clip_text_key)?,
                |tensors, dtype, device| reference::Clip::new(tensors, &preset, dtype, device),
            )?)],
            None => native_text_encoders(loader, model)?,
        },
        unet: Box::new(loader.candle("unet", &sources.mapped("unet", as_stored)?, |tensors, dtype, device| {
            reference::UNet::new(tensors, &model.unet, dtype, device)
        })?),
    })
}

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
        let sources = Arc::new(Sources::open(path, overrides)?);
        let mut model = StableDiffusion::from_files(sources.model(), sources.vae_config()?, overrides.prediction_type)?;
        let preview = sources.preview_vae_config()?;
        if let Some(preview) = &preview {
            model.check_preview_vae(preview)?;
        }
        if engine == Engine::Candle {
            model.defaults.deepcache_branches = 0;
            model.defaults.has_vae_tiles = false;
            model.defaults.max_clip_skip = 0;
            if !reference::Vae::encodes(&model.vae) {
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
        let opened = sources.clone();
        let open: Open = Arc::new(move |component, rename| opened.open_component(component, rename));
        let mut loader = Loader { open, device, dtype, residency: Vec::new() };
        let networks = match engine {
            Engine::Native => native(&mut loader, &model)?,
            Engine::Candle => candle(&mut loader, &sources, &model)?,
        };
        let vae = match (engine, &model.vae) {
            (Engine::Candle, AutoencoderConfig::Kl(config)) => candle_vae(&loader, &sources, config.clone())?,
            _ => native_vae(&loader, "vae", model.vae.clone())?,
        };
        let preview_vae = preview.map(|config| native_vae(&loader, "preview_vae", config)).transpose()?;
        Ok(Self::new(threads, model, tokenizers, networks, (vae, preview_vae), loader, engine))
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
            let open: Open =
                Arc::new(|_, _| Ok(Opened { tensors: Box::new(RandomTensors::default()), stored_dtype: "f32" }));
            let mut loader = Loader { open, device, dtype, residency: Vec::new() };
            let networks = native(&mut loader, &model)?;
            let vae = native_vae(&loader, "vae", model.vae.clone())?;
            let tokenizers = model.text_encoders().map(|_| ClipTokenizer::of_bytes()).collect::<Result<_>>()?;
            Ok(Self::new(threads, model, tokenizers, networks, (vae, None), loader, Engine::Native))
        })
    }

    fn new(
        threads: Threads,
        model: StableDiffusion,
        tokenizers: Vec<ClipTokenizer>,
        Networks { text_encoders, unet }: Networks,
        (vae, preview_vae): (VaeStage, Option<VaeStage>),
        Loader { device, dtype, residency, .. }: Loader,
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
