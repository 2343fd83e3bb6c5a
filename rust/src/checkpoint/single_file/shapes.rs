//! Configurations as diffusers and transformers write them, from the shapes of tensors under their names.
//!
//! What shapes cannot tell is what all published models have: norms of 32 groups, heads of width 64, but 8 of any width in
//! UNets whose projections are convolutions (Stable Diffusion 1).

use serde_json::{Value, json};

use crate::checkpoint::MappedTensors;
use crate::error::{Error, Result};
use crate::nn::weights::TensorSource;

const HEAD_WIDTH: usize = 64;
const V1_HEADS: usize = 8;
/// Width of each of the sinusoids that SDXL's UNet makes of sizes.
const ADDITION_TIME_EMBED_DIM: usize = 256;

/// The shapes of one component's tensors.
struct Shapes<'a> {
    component: &'a str,
    tensors: &'a MappedTensors,
}

impl Shapes<'_> {
    /// The length of the tensor `name` along `axis`.
    fn length(&self, name: &str, axis: usize) -> Result<usize> {
        let stored = self.tensors.stored_name(name);
        let Some(shape) = self.tensors.shape(name) else {
            return Err(self.unclear(format_args!("there is no {stored}")));
        };
        shape.get(axis).copied().ok_or_else(|| self.unclear(format_args!("{stored} is {shape:?}")))
    }

    fn unclear(&self, reason: impl std::fmt::Display) -> Error {
        Error::Checkpoint(format!("{}: its shape cannot be told from its tensors: {reason}", self.component))
    }

    fn any(&self, module: &str) -> bool {
        self.tensors.any_under(&format!("{module}."))
    }

    /// How many modules there are of which `name` makes names from 0 on.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|index| self.any(&name(*index))).count()
    }

    /// The one value that all of `found` have; `none` if there are none.
    fn agreed(&self, what: &str, none: usize, found: Vec<usize>) -> Result<usize> {
        match found.split_first() {
            None => Ok(none),
            Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(*first),
            Some(_) => Err(self.unclear(format_args!("{what} differ within a level: {found:?}"))),
        }
    }

    /// Transformer blocks of the attentions of the blocks `blocks`.
    fn depth(&self, blocks: &[String]) -> Result<usize> {
        let mut depths = Vec::new();
        for block in blocks {
            for layer in 0..self.count(|layer| format!("{block}.attentions.{layer}")) {
                depths.push(self.count(|index| format!("{block}.attentions.{layer}.transformer_blocks.{index}")));
            }
        }
        self.agreed("the transformers' depths", 1, depths)
    }
}

/// `unet/config.json`; `sample_size` is of the latents.
pub(super) fn unet(tensors: &MappedTensors, sample_size: usize, conditioned_on_sizes: bool) -> Result<Value> {
    let shapes = Shapes { component: "unet", tensors };
    let levels = shapes.count(|level| format!("down_blocks.{level}.resnets"));
    let down = |level: usize| format!("down_blocks.{level}");
    let up = |level: usize| format!("up_blocks.{}", levels - 1 - level);
    let channels = (0..levels)
        .map(|level| shapes.length(&format!("{}.resnets.0.conv1.weight", down(level)), 0))
        .collect::<Result<Vec<_>>>()?;
    let layers: Vec<_> =
        (0..levels).map(|level| shapes.count(|layer| format!("{}.resnets.{layer}", down(level)))).collect();
    let attends = |block: &str| shapes.any(&format!("{block}.attentions"));
    let mid_block_type = shapes.any("mid_block").then_some("UNetMidBlock2DCrossAttn");
    let mut depths = Vec::new();
    for level in 0..levels {
        let mut blocks = vec![down(level), up(level)];
        blocks.extend((level + 1 == levels && mid_block_type.is_some()).then(|| "mid_block".to_string()));
        depths.push(shapes.depth(&blocks)?);
    }
    let attention = (0..levels)
        .flat_map(|level| [down(level), up(level)])
        .chain(["mid_block".to_string()])
        .find(|block| attends(block))
        .ok_or_else(|| shapes.unclear("no block has attention"))?;
    let attention = format!("{attention}.attentions.0");
    let linear = tensors.shape(&format!("{attention}.proj_in.weight")).is_some_and(|shape| shape.len() == 2);
    let kinds = |names: [&'static str; 2], block: &dyn Fn(usize) -> String| -> Vec<_> {
        (0..levels).map(|level| names[usize::from(attends(&block(level)))]).collect()
    };
    let mut up_block_types = kinds(["UpBlock2D", "CrossAttnUpBlock2D"], &up);
    up_block_types.reverse();
    let mut config = json!({
        "sample_size": sample_size,
        "in_channels": shapes.length("conv_in.weight", 1)?,
        "out_channels": shapes.length("conv_out.weight", 0)?,
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": kinds(["DownBlock2D", "CrossAttnDownBlock2D"], &down),
        "mid_block_type": mid_block_type,
        "up_block_types": up_block_types,
        "transformer_layers_per_block": depths,
        "cross_attention_dim": shapes.length(&format!("{attention}.transformer_blocks.0.attn2.to_k.weight"), 1)?,
        "use_linear_projection": linear,
        "attention_head_dim": channels
            .iter()
            .map(|width| if linear { width / HEAD_WIDTH } else { V1_HEADS })
            .collect::<Vec<_>>(),
    });
    if shapes.any("add_embedding") {
        config["projection_class_embeddings_input_dim"] = shapes.length("add_embedding.linear_1.weight", 1)?.into();
        if conditioned_on_sizes {
            config["addition_embed_type"] = "text_time".into();
            config["addition_time_embed_dim"] = ADDITION_TIME_EMBED_DIM.into();
        } else {
            config["class_embed_type"] = "projection".into();
        }
    }
    Ok(config)
}

/// `vae/config.json` of an `AutoencoderKL`, but for `scaling_factor`, which no tensor tells.
pub(super) fn autoencoder_kl(tensors: &MappedTensors) -> Result<Value> {
    let shapes = Shapes { component: "vae", tensors };
    let levels = shapes.count(|level| format!("decoder.up_blocks.{level}"));
    let channels = (0..levels)
        .rev()
        .map(|level| shapes.length(&format!("decoder.up_blocks.{level}.resnets.0.conv1.weight"), 0))
        .collect::<Result<Vec<_>>>()?;
    let layers = (0..levels)
        .map(|level| shapes.count(|layer| format!("encoder.down_blocks.{level}.resnets.{layer}")))
        .collect::<Vec<_>>();
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "in_channels": shapes.length("encoder.conv_in.weight", 1)?,
        "out_channels": shapes.length("decoder.conv_out.weight", 0)?,
        "latent_channels": shapes.length("decoder.conv_in.weight", 1)?,
        "block_out_channels": channels,
        "layers_per_block": shapes.agreed("the numbers of layers", 1, layers)?,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "use_quant_conv": shapes.any("quant_conv"),
        "use_post_quant_conv": shapes.any("post_quant_conv"),
        "mid_block_add_attention": shapes.any("decoder.mid_block.attentions"),
    }))
}

/// `text_encoder/config.json` of a `CLIPTextModel`, or of a `CLIPTextModelWithProjection` where there is one.
pub(super) fn clip_text_model(component: &str, tensors: &MappedTensors, hidden_act: &str) -> Result<Value> {
    let shapes = Shapes { component, tensors };
    let width = shapes.length("embeddings.token_embedding.weight", 1)?;
    let mut config = json!({
        "vocab_size": shapes.length("embeddings.token_embedding.weight", 0)?,
        "hidden_size": width,
        "intermediate_size": shapes.length("encoder.layers.0.mlp.fc1.weight", 0)?,
        "num_hidden_layers": shapes.count(|layer| format!("encoder.layers.{layer}")),
        "num_attention_heads": width / HEAD_WIDTH,
        "max_position_embeddings": shapes.length("embeddings.position_embedding.weight", 0)?,
        "hidden_act": hidden_act,
    });
    if tensors.shape("text_projection.weight").is_some() {
        config["projection_dim"] = shapes.length("text_projection.weight", 0)?.into();
    }
    Ok(config)
}
