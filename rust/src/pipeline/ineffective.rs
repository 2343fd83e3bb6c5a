//! What a request says to no effect.

use super::inpaint;
use crate::family::{Family, StableDiffusion};
use crate::params::{GenerationParams, InitialImage};

/// What was given and has no effect on a schedule of `steps`.
pub(super) fn warnings(params: &GenerationParams, model: &StableDiffusion, steps: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let (interval, deepcache) = (params.guidance_interval(), params.deepcache());
    let (start, end) = (interval.start(), interval.end());
    if !interval.is_whole() && !params.is_guided() {
        let scale = params.guidance_scale();
        warnings.push(format!(
            "guidance_start and guidance_end have no effect at guidance_scale {scale}: guidance begins above 1"
        ));
    } else if !(0..steps).any(|index| interval.contains(index, steps)) {
        warnings.push(format!(
            "guidance_scale has no effect: none of {steps} steps lies between guidance_start {start} and guidance_end {end}"
        ));
    }
    if deepcache.branch() > 0 && !deepcache.is_on() {
        warnings.push("deepcache_branch has no effect at deepcache_interval 1".into());
    }
    if params.negative_prompt().is_some_and(|prompt| !prompt.is_empty()) && !params.is_guided() {
        let scale = params.guidance_scale();
        warnings.push(format!("negative_prompt has no effect at guidance_scale {scale}: guidance begins above 1"));
    }
    if params.guidance_rescale() > 0.0 && !params.is_guided() {
        let scale = params.guidance_scale();
        warnings.push(format!("guidance_rescale has no effect at guidance_scale {scale}: guidance begins above 1"));
    }
    let mask_image = params.initial_image().and_then(InitialImage::mask_image);
    warnings.extend(mask_image.and_then(|mask| inpaint::repaints_nothing(mask, model.vae.factor())));
    warnings.extend(of_family(params, model));
    warnings
}

/// What models of another family would take.
fn of_family(params: &GenerationParams, model: &StableDiffusion) -> Vec<String> {
    let mut warnings = Vec::new();
    if model.family == Family::StableDiffusionXl {
        if params.negative_prompt().is_none()
            && params.negative_prompt_2().is_some()
            && model.force_zeros_for_empty_prompt
        {
            warnings.push("negative_prompt_2 has no effect without negative_prompt".into());
        }
        if params.initial_image().is_some() && params.sizes().negative_crops_coords_top_left.is_some() {
            warnings
                .push("negative_crops_coords_top_left has no effect with an image: crops_coords_top_left has".into());
        }
        return warnings;
    }
    let given = [
        ("prompt_2", params.prompt_2().is_some()),
        ("negative_prompt_2", params.negative_prompt_2().is_some()),
        ("original_size, crops_coords_top_left and target_size", params.sizes().is_given()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    warnings.extend(given.map(|(name, _)| format!("{name}: no effect on this model, SDXL alone takes it")));
    warnings
}
