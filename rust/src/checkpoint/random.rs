//! Tensors that are drawn and not read: for measuring a network, where its shape counts and not its pictures.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::nn::weights::TensorSource;

/// Spread of what is added and of what multiplies channels.
const SPREAD: f32 = 0.02;

/// Has every tensor that is asked for, with values by its name and shape: weights keep the variance from layer to layer,
/// norms are near the identity.
#[derive(Default)]
pub struct RandomTensors(RefCell<BTreeMap<String, Vec<usize>>>);

impl TensorSource for RandomTensors {
    fn names(&self) -> Vec<String> {
        self.0.borrow().keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.borrow().get(name).cloned()
    }

    fn find(&self, name: &str, asked: &[usize]) -> Option<Vec<usize>> {
        Some(self.0.borrow_mut().entry(name.to_string()).or_insert_with(|| asked.to_vec()).clone())
    }

    fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.shape(name).ok_or_else(|| Error::Checkpoint(format!("{name}: nobody asked for its shape")))?;
        let inputs: usize = shape.iter().skip(1).product();
        let (mean, spread) = match (shape.len(), name.ends_with(".weight")) {
            (1, true) => (1.0, SPREAD),
            (1, false) => (0.0, SPREAD),
            _ => (0.0, (inputs as f32).sqrt().recip()),
        };
        let values = uniform(name, shape.iter().product(), mean, spread);
        Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
    }
}

/// Uniform values of this mean and standard deviation, by SplitMix64 (Steele, Lea & Flood 2014) from the name's
/// FNV-1a hash.
fn uniform(name: &str, count: usize, mean: f32, spread: f32) -> Vec<f32> {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let half_width = spread * 3f32.sqrt();
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits are what an f32 holds exactly.
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| mean + half_width * next()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::{Conditioning, Denoiser, UNet2DConditionConfig, UNet2DConditionModel};
    use crate::nn::Weights;
    use crate::progress::CancelToken;

    #[test]
    fn values_have_the_variance_of_their_layer() {
        let source = RandomTensors::default();
        let load = |name: &str, shape: &[usize]| {
            assert_eq!(source.find(name, shape).as_deref(), Some(shape));
            let tensor = source.load(name, DType::F32, &Device::Cpu).expect("drawn");
            let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values");
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt())
        };
        let (mean, spread) = load("conv.weight", &[64, 32, 3, 3]);
        assert!(mean.abs() < 1e-3 && (spread * 288f32.sqrt() - 1.0).abs() < 0.02, "{mean} {spread}");
        let (mean, spread) = load("norm.weight", &[4096]);
        assert!((mean - 1.0).abs() < 1e-2 && (spread / SPREAD - 1.0).abs() < 0.05, "{mean} {spread}");
        assert!(load("norm.bias", &[4096]).0.abs() < 1e-2);
    }

    #[test]
    fn a_network_of_any_shape_is_whole_and_computes() {
        let config = json!({
            "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 2,
            "cross_attention_dim": 12, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        });
        let config = UNet2DConditionConfig::from_json(&config).expect("a configuration");
        let weights = Weights::new(Box::new(RandomTensors::default()), DType::F32, &Device::Cpu);
        let unet = UNet2DConditionModel::new(&weights, &config).expect("a network");
        assert!(weights.finish("unet").expect("nothing is missing or left over").tensors > 50);
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).expect("ones");
        let conditions = Conditioning::of_text(ones(&[1, 7, 12]));
        let made = unet.predict(&ones(&[1, 4, 8, 8]), 500.0, &conditions, &CancelToken::new());
        let values = made.and_then(|made| Ok(made.flatten_all()?.to_vec1::<f32>()?)).expect("a prediction");
        let mean_square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        assert!((0.01..100.0).contains(&mean_square), "{mean_square}");
    }

    #[test]
    fn a_name_has_one_shape_and_one_value() {
        let source = RandomTensors::default();
        assert!(source.load("x", DType::F32, &Device::Cpu).is_err());
        source.find("x", &[2, 3]);
        assert_eq!(source.find("x", &[3, 2]), Some(vec![2, 3]));
        let values = |source: &RandomTensors| source.load("x", DType::F32, &Device::Cpu).expect("x").to_vec2::<f32>();
        assert_eq!(values(&source).expect("values"), values(&source).expect("values"));
        assert_ne!(uniform("x", 8, 0.0, 1.0), uniform("y", 8, 0.0, 1.0));
    }
}
