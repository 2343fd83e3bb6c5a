//! Shapes of published models, for measuring without their weights.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{Configs, StableDiffusion};
use crate::error::{Error, Result};
use crate::models::AutoencoderConfig;
use crate::schedulers::SchedulerConfig;

/// A published model's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Stable Diffusion 1.5, 512 x 512.
    V1_5,
    /// Stable Diffusion 2.1, 768 x 768.
    V2_1,
    /// Stable Diffusion XL, 1024 x 1024.
    Xl,
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V1_5, Self::V2_1, Self::Xl];

    /// The name that [`Published::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_5 => "v1-5",
            Self::V2_1 => "v2-1",
            Self::Xl => "xl",
        }
    }

    /// The model, as its published configurations describe it.
    ///
    /// # Errors
    /// None, unless the configurations here are wrong.
    pub fn model(self) -> Result<StableDiffusion> {
        let mut scheduler = json!({
            "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
            "set_alpha_to_one": false, "clip_sample": false, "steps_offset": 1,
            "prediction_type": if self == Self::V2_1 { "v_prediction" } else { "epsilon" },
        });
        if self == Self::Xl {
            scheduler["_class_name"] = json!("EulerDiscreteScheduler");
            scheduler["timestep_spacing"] = json!("leading");
        }
        StableDiffusion::from_configs(Configs {
            text_encoder: self.text_encoder(),
            text_encoder_2: (self == Self::Xl).then(open_clip_bigg),
            unet: self.unet(),
            vae: AutoencoderConfig::from_json("vae", None, &self.vae())?,
            scheduler: SchedulerConfig::from_json(&scheduler)?,
            force_zeros_for_empty_prompt: true,
        })
    }

    fn text_encoder(self) -> Value {
        match self {
            Self::V1_5 | Self::Xl => json!({
                "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "hidden_act": "quick_gelu",
            }),
            Self::V2_1 => json!({
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
                "hidden_act": "gelu",
            }),
        }
    }

    fn unet(self) -> Value {
        let (plain, attention) = ("DownBlock2D", "CrossAttnDownBlock2D");
        let (plain_up, attention_up) = ("UpBlock2D", "CrossAttnUpBlock2D");
        let mut config = match self {
            Self::V1_5 | Self::V2_1 => json!({
                "block_out_channels": [320, 640, 1280, 1280],
                "down_block_types": [attention, attention, attention, plain],
                "up_block_types": [plain_up, attention_up, attention_up, attention_up],
            }),
            Self::Xl => json!({
                "block_out_channels": [320, 640, 1280], "down_block_types": [plain, attention, attention],
                "up_block_types": [attention_up, attention_up, plain_up], "transformer_layers_per_block": [1, 2, 10],
                "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            }),
        };
        let own = match self {
            Self::V1_5 => json!({"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}),
            Self::V2_1 => json!({
                "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
                "use_linear_projection": true,
            }),
            Self::Xl => json!({
                "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
                "use_linear_projection": true,
            }),
        };
        config["layers_per_block"] = json!(2);
        for (key, value) in own.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }

    fn vae(self) -> Value {
        json!({
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
            "scaling_factor": if self == Self::Xl { 0.13025 } else { 0.18215 },
        })
    }
}

/// OpenCLIP's ViT-bigG.
fn open_clip_bigg() -> Value {
    json!({
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
        "hidden_act": "gelu", "projection_dim": 1280, "eos_token_id": 2,
    })
}

impl FromStr for Published {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|shape| shape.name()).collect();
            Error::invalid("shape", name, names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_that_torch_counts() {
        // `torch.utils.flop_counter.FlopCounterMode` around diffusers' networks.
        let model = Published::V1_5.model().expect("a model");
        assert_eq!(model.unet.flops(2, (64, 64), 77), 1_606_546_882_560.0);
        assert_eq!(model.vae.decode_flops((64, 64)), 2_514_518_933_504.0);
        let xl = Published::Xl.model().expect("a model");
        assert_eq!(xl.unet.flops(1, (64, 64), 77), 1_588_778_762_240.0);
        let tiny = AutoencoderConfig::from_json("vae", Some("AutoencoderTiny"), &json!({})).expect("TAESD");
        assert_eq!(tiny.decode_flops((64, 64)), 141_350_141_952.0);
    }

    #[test]
    fn every_name_is_taken_back() {
        for shape in Published::ALL {
            assert_eq!(shape.name().parse::<Published>().expect("a name"), shape);
            let model = shape.model().expect("a model");
            let width: usize = model.text_encoders().map(|(_, config, _)| config.hidden_size).sum();
            assert_eq!(width, model.unet.cross_attention_dim);
        }
        assert!(matches!("v9".parse::<Published>(), Err(Error::InvalidParams { field: "shape", .. })));
    }
}
