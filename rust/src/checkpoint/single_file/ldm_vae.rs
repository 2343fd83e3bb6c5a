//! The VAE's names in latent diffusion's own layout, as diffusers' `convert_ldm_vae_checkpoint` reads them.

use crate::checkpoint::MappedTensors;
use crate::checkpoint::names::{Layers, Names};

/// What the names of the VAE's tensors may begin with; nothing in a file that holds it alone.
pub(super) const PREFIXES: [&str; 3] = ["first_stage_model.", "vae.", ""];

const RESNET: Layers = &[("nin_shortcut", "conv_shortcut")];
const ATTENTION: Layers =
    &[("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];
/// What only the training of a VAE needs.
const RIDERS: [&str; 2] = ["loss", "model_ema"];

/// Whether `tensors` has a VAE in this layout under `prefix`.
pub(super) fn is_under(tensors: &MappedTensors, prefix: &str) -> bool {
    tensors.any_under(&format!("{prefix}decoder.up.0.")) || tensors.any_under(&format!("{prefix}encoder.down.0."))
}

/// The names of the VAE in `tensors` under `prefix`.
pub(super) fn names(tensors: &MappedTensors, prefix: &str) -> Names {
    let any = |module: &str| tensors.any_under(&format!("{prefix}{module}."));
    let mut names = Names::new(prefix);
    for same in ["quant_conv", "post_quant_conv"] {
        names.module(same, same, &[]);
    }
    for half in ["encoder", "decoder"] {
        for (stored, canonical, layers) in [
            ("conv_in", "conv_in", &[][..]),
            ("norm_out", "conv_norm_out", &[]),
            ("conv_out", "conv_out", &[]),
            ("mid.block_1", "mid_block.resnets.0", RESNET),
            ("mid.attn_1", "mid_block.attentions.0", ATTENTION),
            ("mid.block_2", "mid_block.resnets.1", RESNET),
        ] {
            names.module(format!("{half}.{stored}"), format!("{half}.{canonical}"), layers);
        }
        // The decoder's levels are stored from the pixels inwards too, and diffusers' run the other way.
        let (stored, blocks, resample) = match half {
            "encoder" => ("down", "down_blocks", ("downsample.conv", "downsamplers.0.conv")),
            _ => ("up", "up_blocks", ("upsample.conv", "upsamplers.0.conv")),
        };
        let levels = (0..).take_while(|level| any(&format!("{half}.{stored}.{level}"))).count();
        for level in 0..levels {
            let from = format!("{half}.{stored}.{level}");
            let to = format!("{half}.{blocks}.{}", if half == "encoder" { level } else { levels - 1 - level });
            for layer in (0..).take_while(|layer| any(&format!("{from}.block.{layer}"))) {
                names.module(format!("{from}.block.{layer}"), format!("{to}.resnets.{layer}"), RESNET);
            }
            names.module(format!("{from}.{}", resample.0), format!("{to}.{}", resample.1), &[]);
        }
    }
    for rider in RIDERS {
        names.leave_out(rider);
    }
    names
}
