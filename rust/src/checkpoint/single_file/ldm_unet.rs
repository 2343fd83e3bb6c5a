//! The UNet's names in latent diffusion's own layout, as diffusers' `convert_ldm_unet_checkpoint` reads them.

use crate::checkpoint::MappedTensors;
use crate::checkpoint::names::{Layers, Names};

/// What the names of the UNet's tensors begin with.
pub(super) const PREFIX: &str = "model.diffusion_model.";

const RESNET: Layers = &[
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];
const ENDS: [(&str, &str, Layers); 10] = [
    ("time_embed.0", "time_embedding.linear_1", &[]),
    ("time_embed.2", "time_embedding.linear_2", &[]),
    ("label_emb.0.0", "add_embedding.linear_1", &[]),
    ("label_emb.0.2", "add_embedding.linear_2", &[]),
    ("input_blocks.0.0", "conv_in", &[]),
    ("middle_block.0", "mid_block.resnets.0", RESNET),
    ("middle_block.1", "mid_block.attentions.0", &[]),
    ("middle_block.2", "mid_block.resnets.1", RESNET),
    ("out.0", "conv_norm_out", &[]),
    ("out.2", "conv_out", &[]),
];

/// The names of the UNet in `tensors`. Where levels begin is told by the blocks that halve and double the size.
pub(super) fn names(tensors: &MappedTensors) -> Names {
    let any = |module: &str| tensors.any_under(&format!("{PREFIX}{module}."));
    let mut names = Names::new(PREFIX);
    for (stored, canonical, layers) in ENDS {
        names.module(stored, canonical, layers);
    }
    let (mut level, mut layer) = (0, 0);
    for block in (1..).map(|index| format!("input_blocks.{index}")).take_while(|block| any(block)) {
        if any(&format!("{block}.0.op")) {
            names.module(format!("{block}.0.op"), format!("down_blocks.{level}.downsamplers.0.conv"), &[]);
            (level, layer) = (level + 1, 0);
        } else {
            names.module(format!("{block}.0"), format!("down_blocks.{level}.resnets.{layer}"), RESNET);
            names.module(format!("{block}.1"), format!("down_blocks.{level}.attentions.{layer}"), &[]);
            layer += 1;
        }
    }
    (level, layer) = (0, 0);
    for block in (0..).map(|index| format!("output_blocks.{index}")).take_while(|block| any(block)) {
        names.module(format!("{block}.0"), format!("up_blocks.{level}.resnets.{layer}"), RESNET);
        let upsampler = [1, 2].map(|index| format!("{block}.{index}.conv")).into_iter().find(|module| any(module));
        if let Some(upsampler) = &upsampler {
            names.module(upsampler, format!("up_blocks.{level}.upsamplers.0.conv"), &[]);
        }
        names.module(format!("{block}.1"), format!("up_blocks.{level}.attentions.{layer}"), &[]);
        (level, layer) = if upsampler.is_some() { (level + 1, 0) } else { (level, layer + 1) };
    }
    names
}
