//! What kind of model a file holds, and what kinds it holds that are no models.

use crate::checkpoint::MappedTensors;

use super::{ldm_unet, ldm_vae};

/// A text encoder in a file: its component, the prefix of its tensors, whose names they have.
pub(super) struct TextEncoder {
    pub component: &'static str,
    pub prefix: &'static str,
    pub open_clip: bool,
}

/// A line of models of one layout, told apart by their text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V1,
    V2,
    Xl,
}

const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const FIRST_CLIP: &str = "conditioner.embedders.0.transformer.";
const FIRST_OPEN_CLIP: &str = "conditioner.embedders.0.model.";
const SECOND_OPEN_CLIP: &str = "conditioner.embedders.1.model.";

impl Family {
    /// The family of `tensors` and its text encoders; none where there is no text encoder.
    pub fn of(tensors: &MappedTensors) -> Option<(Self, Vec<TextEncoder>)> {
        let text_encoder = |prefix, open_clip| TextEncoder { component: "text_encoder", prefix, open_clip };
        let second = TextEncoder { component: "text_encoder_2", prefix: SECOND_OPEN_CLIP, open_clip: true };
        if tensors.any_under(SECOND_OPEN_CLIP) {
            return Some((Self::Xl, vec![text_encoder(FIRST_CLIP, false), second]));
        }
        [(CLIP, false), (OPEN_CLIP, true), (FIRST_OPEN_CLIP, true)]
            .into_iter()
            .find(|(prefix, _)| tensors.any_under(prefix))
            .map(|(prefix, open_clip)| {
                (if open_clip { Self::V2 } else { Self::V1 }, vec![text_encoder(prefix, open_clip)])
            })
    }
}

/// What a file is that has no UNet in latent diffusion's layout or more than Stable Diffusion has, as far as its names
/// tell.
pub(super) fn other(tensors: &MappedTensors) -> Option<&'static str> {
    let any = |prefix: &str| tensors.any_under(prefix);
    let somewhere = |part: &str| tensors.any_name(|name| name.contains(part));
    let is_refiner = any(FIRST_OPEN_CLIP)
        && any("model.diffusion_model.label_emb.")
        && !any(SECOND_OPEN_CLIP)
        && any("conditioner.embedders.0.model.text_projection");
    [
        (["lora_", "lora."].iter().any(|part| somewhere(part)), "a LoRA, which changes a model and is none"),
        (somewhere("hada_w1") || somewhere("lokr_w"), "a LyCORIS, which changes a model and is none"),
        (
            any("control_model.") || any("controlnet_") || any("input_hint_block."),
            "a ControlNet, which guides a model and is none",
        ),
        (any("adapter.body.") || any("body.0."), "a T2I-Adapter, which guides a model and is none"),
        (any("ip_adapter.") || any("image_proj."), "an IP-Adapter, which guides a model and is none"),
        (
            any("emb_params") || any("string_to_param") || any("clip_g") || any("clip_l"),
            "a textual inversion, which adds words to a model and is none",
        ),
        (somewhere("motion_modules."), "a motion module of AnimateDiff, which adds to a model and is none"),
        (somewhere("double_blocks."), "a Flux model, which is not supported"),
        (somewhere("joint_blocks."), "a Stable Diffusion 3 model, which is not supported"),
        (somewhere("double_layers."), "an AuraFlow model, which is not supported"),
        (any("edm_mean") || any("edm_vpred."), "a model with EDM's noise schedule, which is not supported"),
        (is_refiner, "Stable Diffusion XL's refiner, which is not supported"),
        (any("depth_model."), "Stable Diffusion 2's depth model, which is not supported"),
        (any("noise_augmentor.") || any("embedder."), "Stable unCLIP, which is not supported"),
        (any("low_res_scheduler.") || any("low_res_model."), "Stable Diffusion's upscaler, which is not supported"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// Which component a file without a whole model holds, by itself.
pub(super) fn lone_component(tensors: &MappedTensors) -> Option<&'static str> {
    let any = |prefix: &str| tensors.any_under(prefix);
    let is_vae = ldm_vae::PREFIXES.iter().any(|prefix| ldm_vae::is_under(tensors, prefix))
        || any("decoder.up_blocks.")
        || any("decoder.layers.");
    [
        (is_vae, "a VAE by itself, which `vae` takes; a model has a UNet and a text encoder too"),
        (
            any(ldm_unet::PREFIX) || any("input_blocks.") || any("down_blocks."),
            "a UNet by itself; a model has a text encoder and a VAE too",
        ),
        (
            any("text_model.") || any("transformer.resblocks.") || any("encoder.layers."),
            "a text encoder by itself; a model has a UNet and a VAE too",
        ),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}
