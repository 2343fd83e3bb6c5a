//! Shapes of published models, for measuring without their weights.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{DEFAULT_GUIDANCE, DEFAULT_STEPS, StableDiffusion};
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
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V1_5, Self::V2_1];

    /// The name that [`Published::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_5 => "v1-5",
            Self::V2_1 => "v2-1",
        }
    }

    /// The model, as its published configurations describe it.
    ///
    /// # Errors
    /// None, unless the configurations here are wrong.
    pub fn model(self) -> Result<StableDiffusion> {
        let networks = [self.text_encoder(), self.unet()];
        let vae = AutoencoderConfig::from_json("vae", None, &vae())?;
        let scheduler = json!({
            "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
            "set_alpha_to_one": false, "clip_sample": false, "steps_offset": 1,
            "prediction_type": if self == Self::V1_5 { "epsilon" } else { "v_prediction" },
        });
        let scheduler = SchedulerConfig::from_json(&scheduler)?;
        StableDiffusion::from_configs(networks.each_ref(), vae, scheduler, (DEFAULT_STEPS, DEFAULT_GUIDANCE))
    }

    fn text_encoder(self) -> Value {
        match self {
            Self::V1_5 => json!({
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
        let attention = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"];
        let mut config = json!({
            "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "down_block_types": attention,
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        });
        let own = match self {
            Self::V1_5 => json!({"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}),
            Self::V2_1 => json!({
                "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
                "use_linear_projection": true,
            }),
        };
        for (key, value) in own.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }
}

fn vae() -> Value {
    json!({
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
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
        let tiny = AutoencoderConfig::from_json("vae", Some("AutoencoderTiny"), &json!({})).expect("TAESD");
        assert_eq!(tiny.decode_flops((64, 64)), 141_350_141_952.0);
    }

    #[test]
    fn every_name_is_taken_back() {
        for shape in Published::ALL {
            assert_eq!(shape.name().parse::<Published>().expect("a name"), shape);
            let model = shape.model().expect("a model");
            assert_eq!(model.text_encoder.hidden_size, model.unet.cross_attention_dim);
        }
        assert!(matches!("v9".parse::<Published>(), Err(Error::InvalidParams { field: "shape", .. })));
    }
}
