//! From tensors to a pipeline's networks, of either engine, and what they take.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::sources::{Opened, Rename};
use super::vae::{Loaded as LoadedHalf, VaeSource};
use crate::checkpoint::{MappedTensors, clip_text_key};
use crate::device::{self, Residency};
use crate::error::Result;
use crate::family::StableDiffusion;
use crate::models::{
    AutoencoderConfig, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, Denoiser, TextEncoder, UNet2DConditionModel,
    VaeDecoder, VaeEncoder,
};
use crate::nn::Weights;
use crate::nn::weights::{Loaded, TensorSource};
use crate::reference;

/// All but the VAE.
pub(super) struct Networks {
    pub text_encoders: Vec<Box<dyn TextEncoder>>,
    pub unet: Box<dyn Denoiser>,
    pub residency: Vec<Residency>,
}

/// Where networks compute, and in which dtype.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub device: Device,
    pub dtype: DType,
}

impl Target {
    /// One of this crate's networks, every tensor of whose files is accounted for.
    fn native<Model>(
        &self,
        component: &'static str,
        Opened { tensors, stored_dtype }: Opened,
        build: impl FnOnce(&Weights) -> Result<Model>,
    ) -> Result<(Model, Residency)> {
        let weights = Weights::new(tensors, self.dtype, &self.device);
        let model = build(&weights)?;
        let loaded = weights.finish(component)?;
        let storage = if weights.products().is_some() { "packed" } else { "copied" };
        Ok((model, self.residency(component, stored_dtype, loaded, storage)))
    }

    /// One of candle's networks.
    fn candle<Model>(
        &self,
        component: &'static str,
        tensors: &MappedTensors,
        build: impl FnOnce(&MappedTensors, DType, &Device) -> Result<Model>,
    ) -> Result<(Model, Residency)> {
        let model = build(tensors, self.dtype, &self.device)?;
        let names = tensors.names();
        let elements: usize =
            names.iter().filter_map(|name| tensors.shape(name)).map(|s| s.iter().product::<usize>()).sum();
        let loaded = Loaded { tensors: names.len(), bytes: elements * self.dtype.size_in_bytes() };
        Ok((model, self.residency(component, tensors.stored_dtype(), loaded, "copied")))
    }

    fn residency(
        &self,
        component: &'static str,
        stored_dtype: &'static str,
        Loaded { tensors, bytes }: Loaded,
        storage: &'static str,
    ) -> Residency {
        let (device, dtype) = (device::name(&self.device), device::dtype_name(self.dtype));
        Residency { component, device, dtype, stored_dtype, tensors, bytes, storage }
    }

    /// Where networks compute that are not quantised, as quantising pays in the UNet alone.
    fn of_floats(&self) -> Self {
        Self { device: self.device.clone(), dtype: device::float_dtype(self.dtype) }
    }

    fn with_dtype(&self, dtype: DType) -> Self {
        Self { device: self.device.clone(), dtype }
    }
}

fn as_stored(name: &str) -> Option<String> {
    Some(name.to_string())
}

impl Networks {
    /// This crate's.
    pub fn native(
        target: &Target,
        model: &StableDiffusion,
        open: &dyn Fn(&str, Rename) -> Result<Opened>,
    ) -> Result<Self> {
        let (text_encoders, mut residency) = native_text_encoders(target, model, open)?;
        let (unet, of_unet) = target
            .native("unet", open("unet", as_stored)?, |weights| UNet2DConditionModel::new(weights, &model.unet))?;
        residency.push(of_unet);
        Ok(Self { text_encoders, unet: Box::new(unet), residency })
    }

    /// candle's, where it has such a text encoder.
    pub fn candle(
        target: &Target,
        model: &StableDiffusion,
        open: &dyn Fn(&str, Rename) -> Result<MappedTensors>,
    ) -> Result<Self> {
        let preset = reference::Clip::preset(&model.text_encoder).filter(|_| model.text_encoder_2.is_none());
        let (text_encoders, mut residency) = match preset {
            Some(preset) => {
                let tensors = open("text_encoder", clip_text_key)?;
                let (encoder, residency) = target.candle("text_encoder", &tensors, |tensors, dtype, device| {
                    reference::Clip::new(tensors, &preset, dtype, device)
                })?;
                (vec![Box::new(encoder) as Box<dyn TextEncoder>], vec![residency])
            }
            None => native_text_encoders(target, model, &|component, rename| open(component, rename).map(Opened::of))?,
        };
        let (unet, of_unet) = target.candle("unet", &open("unet", as_stored)?, |tensors, dtype, device| {
            reference::UNet::new(tensors, &model.unet, dtype, device)
        })?;
        residency.push(of_unet);
        Ok(Self { text_encoders, unet: Box::new(unet), residency })
    }
}

type TextEncoders = (Vec<Box<dyn TextEncoder>>, Vec<Residency>);

fn native_text_encoders(
    target: &Target,
    model: &StableDiffusion,
    open: &dyn Fn(&str, Rename) -> Result<Opened>,
) -> Result<TextEncoders> {
    let target = target.of_floats();
    let encoder = |(component, config, _): (_, &ClipTextConfig, _)| {
        let build = |weights: &Weights| ClipTextModel::new(weights, config.clone());
        let (model, residency) = target.native(component, open(component, clip_text_key)?, build)?;
        Ok((Box::new(model) as Box<dyn TextEncoder>, residency))
    };
    model.text_encoders().map(encoder).collect()
}

/// A VAE of this crate's.
pub(super) struct NativeVae {
    pub component: &'static str,
    pub config: AutoencoderConfig,
    /// Its tensors, as they were when the pipeline was loaded.
    pub open: Box<dyn Fn() -> Opened + Send + Sync>,
    pub target: Target,
}

impl NativeVae {
    fn half<Network: ?Sized>(
        &self,
        dtype: DType,
        build: impl FnOnce(&Weights) -> Result<Box<Network>>,
    ) -> Result<LoadedHalf<Network>> {
        let (network, residency) = self.target.with_dtype(dtype).native(self.component, (self.open)(), build)?;
        Ok(LoadedHalf { network: network.into(), residency })
    }
}

impl VaeSource for NativeVae {
    fn encoder(&self, dtype: DType) -> Result<LoadedHalf<dyn VaeEncoder>> {
        self.half(dtype, |weights| self.config.encoder(weights))
    }

    fn decoder(&self, dtype: DType) -> Result<LoadedHalf<dyn VaeDecoder>> {
        self.half(dtype, |weights| self.config.decoder(weights))
    }
}

/// A VAE of candle's, each half of which holds the whole.
pub(super) struct CandleVae {
    pub config: AutoencoderKlConfig,
    pub tensors: MappedTensors,
    pub target: Target,
}

impl CandleVae {
    fn half<Network>(
        &self,
        dtype: DType,
        build: impl FnOnce(&dyn TensorSource, &AutoencoderKlConfig, DType, &Device) -> Result<Network>,
    ) -> Result<(Network, Residency)> {
        self.target
            .with_dtype(dtype)
            .candle("vae", &self.tensors, |tensors, dtype, device| build(tensors, &self.config, dtype, device))
    }
}

impl VaeSource for CandleVae {
    fn encoder(&self, dtype: DType) -> Result<LoadedHalf<dyn VaeEncoder>> {
        let (network, residency) = self.half(dtype, reference::VaeEncoder::new)?;
        Ok(LoadedHalf { network: Arc::new(network), residency })
    }

    fn decoder(&self, dtype: DType) -> Result<LoadedHalf<dyn VaeDecoder>> {
        let (network, residency) = self.half(dtype, reference::VaeDecoder::new)?;
        Ok(LoadedHalf { network: Arc::new(network), residency })
    }
}
