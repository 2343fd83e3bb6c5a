//! What a file's tensors and header tell of how its model is sampled.

use candle_core::{DType, Device};
use serde_json::{Value, json};

use super::kind::Family;
use crate::checkpoint::MappedTensors;
use crate::checkpoint::model::{SCALING_FACTOR, XL_SCALING_FACTOR};
use crate::error::Result;
use crate::nn::weights::TensorSource;
use crate::schedulers::PredictionType;

/// Norm whose bias is spread differently in Stable Diffusion 2 and in its base, and the spread between them, by which
/// ComfyUI tells them apart (`supported_models.py`, `SD20.model_type`).
const V2_NORM: &str = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
const V2_SPREAD: f64 = 0.09;
/// Training steps of Stable Diffusion 2 base, by which diffusers knows it (`_legacy_load_scheduler`).
const V2_BASE_STEPS: f64 = 875_000.0;

/// How a model is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampling {
    pub family: Family,
    pub prediction_type: PredictionType,
    pub zero_terminal_snr: bool,
    /// Distilled to a few steps without guidance.
    pub turbo: bool,
}

impl Sampling {
    /// What the network predicts is told by `given`, else by the header, by a tensor that stands for it, by the training
    /// steps, or by a norm.
    pub fn of(tensors: &MappedTensors, family: Family, inpaints: bool, given: Option<PredictionType>) -> Result<Self> {
        let said = |key: &str| tensors.metadata().get(key).map(|text| text.to_lowercase()).unwrap_or_default();
        let turbo = said("modelspec.architecture").contains("turbo") || is_turbo_title(&said("modelspec.title"));
        let v_prediction = match said("modelspec.prediction_type").as_str() {
            "v" | "v_prediction" | "v-prediction" => true,
            "epsilon" | "eps" => false,
            _ if given.is_some() => false,
            _ if tensors.any_under("v_pred") => true,
            _ if family != Family::V2 || turbo || inpaints => false,
            _ => match said("modelspec.architecture").as_str() {
                "stable-diffusion-v2-768-v" => true,
                "stable-diffusion-v2-512" => false,
                _ => v2_predicts_v(tensors)?,
            },
        };
        let found = if v_prediction { PredictionType::VPrediction } else { PredictionType::Epsilon };
        let prediction_type = given.unwrap_or(found);
        Ok(Self { family, prediction_type, zero_terminal_snr: tensors.any_under("ztsnr"), turbo })
    }

    /// `scheduler/scheduler_config.json`, that of the published model of the family.
    pub fn scheduler_config(&self) -> Value {
        let class = if self.turbo || self.family == Family::Xl { "EulerDiscreteScheduler" } else { "DDIMScheduler" };
        json!({
            "_class_name": class,
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": self.prediction_type.name(),
            "clip_sample": false,
            "set_alpha_to_one": false,
            "steps_offset": 1,
            "timestep_spacing": if self.turbo { "trailing" } else { "leading" },
            "rescale_betas_zero_snr": self.zero_terminal_snr,
        })
    }

    /// Pixels along a side of the pictures that the model was trained on.
    pub fn side(&self) -> usize {
        match self.family {
            _ if self.turbo => 512,
            Family::V1 => 512,
            Family::V2 if self.prediction_type == PredictionType::VPrediction => 768,
            Family::V2 => 512,
            Family::Xl => 1024,
        }
    }

    /// The VAE's `scaling_factor`.
    pub fn scaling_factor(&self) -> f64 {
        if self.family == Family::Xl { XL_SCALING_FACTOR } else { SCALING_FACTOR }
    }
}

/// Whether the lower-case `title` is that of SD-Turbo or SDXL-Turbo; of their many descendants not all need as few steps.
fn is_turbo_title(title: &str) -> bool {
    let letters: String = title.chars().filter(char::is_ascii_alphabetic).collect();
    let names = ["sdturbo", "sdxlturbo", "stablediffusionturbo", "stablediffusionxlturbo"];
    names.contains(&letters.trim_end_matches('v'))
}

fn v2_predicts_v(tensors: &MappedTensors) -> Result<bool> {
    if tensors.number("global_step") == Some(V2_BASE_STEPS) {
        return Ok(false);
    }
    if tensors.shape(V2_NORM).is_none() {
        return Ok(true);
    }
    let bias = tensors.load(V2_NORM, DType::F32, &Device::Cpu)?.flatten_all()?.to_vec1()?;
    Ok(spread(&bias) > V2_SPREAD)
}

/// Standard deviation of the whole population.
fn spread(values: &[f32]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    (values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count).sqrt()
}
