//! The networks and their configurations.

mod autoencoder_tiny;
mod configs;
mod forward;
pub mod published;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use sd_rbee::models::{
    AutoencoderConfig, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, UNet2DConditionConfig, UNet2DConditionModel,
    VaeDecoder, VaeEncoder,
};
use sd_rbee::nn::Weights;
use sd_rbee::nn::weights::{Loaded, TensorSource};

use crate::common::{checkpoint_error, noise};

/// Tensors of noise.
struct Invented(BTreeMap<String, Vec<usize>>);

impl TensorSource for Invented {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).cloned()
    }

    fn load(&self, name: &str, _: DType, device: &Device) -> sd_rbee::Result<Tensor> {
        let shape = &self.0[name];
        let scale = 1.0 / (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        let values = noise(shape.iter().product(), name.len() as u64);
        let values: Vec<f32> = values.iter().map(|value| value * scale).collect();
        Ok(Tensor::from_vec(values, shape.as_slice(), device)?)
    }
}

fn weights(tensors: BTreeMap<String, Vec<usize>>) -> Weights {
    Weights::new(Box::new(Invented(tensors)), DType::F32, &Device::Cpu)
}

/// Builds from a source without tensors and returns the names and shapes that were missed.
pub fn missed<T>(build: impl FnOnce(&Weights) -> sd_rbee::Result<T>) -> BTreeMap<String, Vec<usize>> {
    let empty = weights(BTreeMap::new());
    build(&empty).expect("missing tensors are told at the end");
    let text = checkpoint_error(empty.finish("part"));
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("missing: "));
    let tensors = lines.map(|line| {
        let (name, shape) = line.split_once(' ').expect("a name and a shape");
        (name.to_string(), serde_json::from_str(shape).expect("a list"))
    });
    tensors.collect()
}

/// Builds from exactly the tensors that the network asks for.
fn invent<T>(build: impl Fn(&Weights) -> sd_rbee::Result<T>) -> (T, Loaded) {
    let weights = weights(missed(&build));
    let model = build(&weights).expect("all is there");
    let loaded = weights.finish("part").expect("nothing is missing or left over");
    (model, loaded)
}

pub fn unet(config: &UNet2DConditionConfig) -> impl Fn(&Weights) -> sd_rbee::Result<UNet2DConditionModel> {
    move |weights| UNet2DConditionModel::new(weights, config)
}

/// Both halves of an autoencoder.
pub struct Vae {
    pub encoder: Box<dyn VaeEncoder>,
    pub decoder: Box<dyn VaeDecoder>,
}

fn autoencoder(config: AutoencoderConfig) -> impl Fn(&Weights) -> sd_rbee::Result<Vae> {
    move |weights| Ok(Vae { encoder: config.encoder(weights)?, decoder: config.decoder(weights)? })
}

pub fn vae(config: &AutoencoderKlConfig) -> impl Fn(&Weights) -> sd_rbee::Result<Vae> {
    autoencoder(AutoencoderConfig::Kl(config.clone()))
}

pub fn clip(config: &ClipTextConfig) -> impl Fn(&Weights) -> sd_rbee::Result<ClipTextModel> {
    move |weights| ClipTextModel::new(weights, config.clone())
}
