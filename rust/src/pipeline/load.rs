//! From a folder to a pipeline.

use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use candle_core::{DType, Device};

use super::encode::TextStage;
use super::sources::{Opened, Rename, Sources, VaeFolders};
use super::{Pipeline, PreviewVae};
use crate::allocator;
use crate::checkpoint::{MappedTensors, RandomTensors, clip_text_key, vae_key};
use crate::device::{self, Residency};
use crate::error::{Error, Result};
use crate::family::{Published, StableDiffusion};
use crate::instruction_set::InstructionSet;
use crate::models::{
    Autoencoder, AutoencoderConfig, ClipTextConfig, ClipTextModel, Denoiser, TextEncoder, UNet2DConditionModel,
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

struct Loader<'a> {
    open: &'a dyn Fn(&str, Rename) -> Result<Opened>,
    device: Device,
    dtype: DType,
    residency: Vec<Residency>,
}

impl Loader<'_> {
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
    vae: Box<dyn Autoencoder>,
    preview_vae: Option<PreviewVae>,
}

fn native(loader: &mut Loader<'_>, model: &StableDiffusion) -> Result<Networks> {
    Ok(Networks {
        text_encoders: native_text_encoders(loader, model)?,
        unet: Box::new(loader.native("unet", as_stored, |weights| UNet2DConditionModel::new(weights, &model.unet))?),
        vae: native_vae(loader, model)?,
        preview_vae: None,
    })
}

fn native_text_encoders(loader: &mut Loader<'_>, model: &StableDiffusion) -> Result<Vec<Box<dyn TextEncoder>>> {
    let encoder = |(component, config, _): (_, &ClipTextConfig, _)| {
        let model = loader.native(component, clip_text_key, |weights| ClipTextModel::new(weights, config.clone()))?;
        Ok(Box::new(model) as Box<dyn TextEncoder>)
    };
    model.text_encoders().map(encoder).collect()
}

fn native_vae(loader: &mut Loader<'_>, model: &StableDiffusion) -> Result<Box<dyn Autoencoder>> {
    loader.native("vae", vae_key, |weights| model.vae.build(weights))
}

fn preview_vae(loader: &mut Loader<'_>, config: &AutoencoderConfig) -> Result<PreviewVae> {
    let network = loader.native("preview_vae", vae_key, |weights| config.build(weights))?;
    Ok(PreviewVae { network, scaling_factor: config.scaling_factor() })
}

fn candle(loader: &mut Loader<'_>, sources: &Sources, model: &StableDiffusion) -> Result<Networks> {
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
        vae: match &model.vae {
            AutoencoderConfig::Kl(config) => {
                Box::new(loader.candle("vae", &sources.mapped("vae", vae_key)?, |tensors, dtype, device| {
                    reference::Vae::new(tensors, config, dtype, device)
                })?)
            }
            AutoencoderConfig::Tiny(_) => native_vae(loader, model)?,
        },
        preview_vae: None,
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
    /// Loads the model in the folder `path`, which is in diffusers' layout.
    ///
    /// `device` and `dtype` are as [`device::open`] and [`device::compute_dtype`] take them, `num_threads` as
    /// [`Threads::new`] does.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for an unknown device or dtype, [`Error::Device`] for one that is absent,
    /// [`Error::ModelNotFound`] and [`Error::Checkpoint`] for what is wrong with the folder.
    pub fn load(path: &Path, device: &str, dtype: &str, engine: Engine, num_threads: Option<usize>) -> Result<Self> {
        Self::load_with_vaes(path, &VaeFolders::default(), device, dtype, engine, num_threads)
    }

    /// [`Pipeline::load`] with other autoencoders than the model's own, `AutoencoderKL` or `AutoencoderTiny`.
    ///
    /// # Errors
    /// As there; [`Error::Checkpoint`] also for latents that are not those of the model's UNet.
    pub fn load_with_vaes(
        path: &Path,
        vaes: &VaeFolders,
        device: &str,
        dtype: &str,
        engine: Engine,
        num_threads: Option<usize>,
    ) -> Result<Self> {
        let threads = Threads::new(num_threads)?;
        threads.clone().run(|| Self::load_on(threads, path, vaes, device, dtype, engine))
    }

    fn load_on(
        threads: Threads,
        path: &Path,
        vaes: &VaeFolders,
        device: &str,
        dtype: &str,
        engine: Engine,
    ) -> Result<Self> {
        InstructionSet::check()?;
        let device = device::open(device)?;
        device::compute_dtype(&device, dtype, false)?;
        let sources = Sources::open(path, vaes)?;
        let mut model = StableDiffusion::from_folder(sources.model(), sources.vae_config()?)?;
        let preview = sources.preview_vae_config()?;
        if let Some(preview) = &preview {
            model.check_preview_vae(preview)?;
        }
        if engine == Engine::Candle {
            model.defaults.deepcache_branches = 0;
            if !reference::Vae::encodes(&model.vae) {
                model.leave_out_images("the candle engine encodes only with a quant_conv")?;
            }
        }
        let tolerates_bf16 = engine == Engine::Native && model.tolerates_bf16();
        let dtype = device::compute_dtype(&device, dtype, tolerates_bf16)?;
        if engine == Engine::Candle && device.is_cpu() && dtype != DType::F32 {
            return Err(Error::invalid("dtype", device::dtype_name(dtype), "f32 for the engine candle on the CPU"));
        }
        let tokenizer = |encoder: (_, &ClipTextConfig, &str)| {
            let tokenizer = ClipTokenizer::from_folder(&sources.model().tokenizer_dir(encoder.2)?)?;
            agree(&tokenizer, encoder)?;
            Ok(tokenizer)
        };
        let tokenizers = model.text_encoders().map(tokenizer).collect::<Result<_>>()?;
        let open = |component: &str, rename: Rename| sources.open_component(component, rename);
        let mut loader = Loader { open: &open, device, dtype, residency: Vec::new() };
        let mut networks = match engine {
            Engine::Native => native(&mut loader, &model)?,
            Engine::Candle => candle(&mut loader, &sources, &model)?,
        };
        networks.preview_vae = preview.map(|config| preview_vae(&mut loader, &config)).transpose()?;
        Ok(Self::new(threads, model, tokenizers, networks, loader, engine))
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
            let open =
                |_: &str, _: Rename| Ok(Opened { tensors: Box::new(RandomTensors::default()), stored_dtype: "f32" });
            let mut loader = Loader { open: &open, device, dtype, residency: Vec::new() };
            let networks = native(&mut loader, &model)?;
            let tokenizers = model.text_encoders().map(|_| ClipTokenizer::of_bytes()).collect::<Result<_>>()?;
            Ok(Self::new(threads, model, tokenizers, networks, loader, Engine::Native))
        })
    }

    fn new(
        threads: Threads,
        model: StableDiffusion,
        tokenizers: Vec<ClipTokenizer>,
        Networks { text_encoders, unet, vae, preview_vae }: Networks,
        Loader { device, dtype, residency, .. }: Loader<'_>,
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
