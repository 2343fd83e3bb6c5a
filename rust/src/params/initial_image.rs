//! The picture that a generation begins with, and how much of it stays.

use super::{Defaults, MAX_STEPS, Task, nearest_side};
use crate::error::{Error, Result};
use crate::image::{Gray8, Rgb8};

/// A picture that is drawn over, as a whole or where a mask says so.
#[derive(Debug, Clone, PartialEq)]
pub struct InitialImage {
    image: Rgb8,
    mask_image: Option<Gray8>,
    strength: f64,
}

impl InitialImage {
    /// Checks what a request says of a picture for `steps` sampling steps; none where it says nothing.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] that names the first field that is missing, out of its range or of another size, and
    /// for a task that is none of the model's.
    pub(super) fn new(
        image: Option<Rgb8>,
        mask_image: Option<Gray8>,
        strength: Option<f64>,
        steps: usize,
        defaults: &Defaults,
    ) -> Result<Option<Self>> {
        let Some(image) = image else {
            if let Some(mask) = mask_image {
                let given = format!("a mask of {} x {} without an image", mask.width, mask.height);
                return Err(Error::invalid("mask_image", given, "a mask of the image that is given with it"));
            }
            if let Some(strength) = strength {
                return Err(Error::invalid("strength", strength, "none without an image"));
            }
            return check_task(Task::TextToImage, defaults).map(|()| None);
        };
        let task = if mask_image.is_some() { Task::Inpaint } else { Task::ImageToImage };
        check_task(task, defaults)?;
        for (side, given) in [("height", image.height), ("width", image.width)] {
            nearest_side(given, defaults.size_multiple)
                .map_err(|allowed| Error::invalid("image", format!("a {side} of {given}"), allowed))?;
        }
        if let Some(mask) = mask_image.as_ref().filter(|mask| (mask.width, mask.height) != (image.width, image.height))
        {
            let given = format!("a mask of {} x {}", mask.width, mask.height);
            let allowed = format!("the image's size, {} x {}", image.width, image.height);
            return Err(Error::invalid("mask_image", given, allowed));
        }
        let strength = strength.unwrap_or(match task {
            Task::Inpaint => defaults.inpaint_strength,
            _ => defaults.image_to_image_strength,
        });
        check_strength(strength, steps)?;
        Ok(Some(Self { image, mask_image, strength }))
    }

    /// Where the drawing begins, under noise.
    pub fn image(&self) -> &Rgb8 {
        &self.image
    }

    /// What is drawn anew, of the picture's size; none for all of it.
    pub fn mask_image(&self) -> Option<&Gray8> {
        self.mask_image.as_ref()
    }

    /// How much is drawn anew, above 0 to 1: the share of the steps that are taken.
    pub fn strength(&self) -> f64 {
        self.strength
    }

    /// How many of `steps` are left out at the beginning: `get_timesteps` of diffusers' pipelines.
    pub fn skipped_steps(&self, steps: usize) -> usize {
        steps - taken(steps, self.strength)
    }
}

/// Steps of `steps` that a run of `strength` takes.
fn taken(steps: usize, strength: f64) -> usize {
    ((steps as f64 * strength) as usize).min(steps)
}

fn check_strength(strength: f64, steps: usize) -> Result<()> {
    if !(strength > 0.0 && strength <= 1.0) {
        return Err(Error::invalid("strength", strength, "a number above 0, at most 1"));
    }
    if taken(steps, strength) > 0 {
        return Ok(());
    }
    let needed = (steps..=MAX_STEPS).find(|steps| taken(*steps, strength) > 0);
    let more = needed.map_or_else(String::new, |needed| format!(", or num_inference_steps of at least {needed}"));
    let allowed = format!("at least 1/{steps} to take one of {steps} steps{more}");
    Err(Error::invalid("strength", strength, allowed))
}

fn check_task(task: Task, defaults: &Defaults) -> Result<()> {
    if defaults.tasks.contains(&task) {
        return Ok(());
    }
    let only = defaults.tasks.iter().map(|task| task.name()).collect::<Vec<_>>().join(" and ");
    Err(match task {
        Task::TextToImage => Error::invalid("image", "none", format!("an image: this model's only task is {only}")),
        Task::ImageToImage if defaults.tasks.contains(&Task::Inpaint) => {
            Error::invalid("mask_image", "none", format!("a mask of the image: this model's only task is {only}"))
        }
        Task::ImageToImage | Task::Inpaint => {
            Error::invalid("image", "an image", format!("none: this model's only task is {only}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::params::tests::{DEFAULTS, request};
    use crate::params::{GenerationParams, Request};

    const INPAINTS_ONLY: Defaults = Defaults { tasks: &[Task::Inpaint], ..DEFAULTS };

    fn image(width: usize, height: usize) -> Option<Rgb8> {
        Some(Rgb8 { width, height, pixels: vec![0; 3 * width * height] })
    }

    fn mask(width: usize, height: usize) -> Option<Gray8> {
        Some(Gray8 { width, height, pixels: vec![255; width * height] })
    }

    fn complaint(request: Request, defaults: &Defaults) -> String {
        GenerationParams::new(request, defaults).expect_err("refused").to_string()
    }

    #[test]
    fn the_task_is_what_is_given() {
        let made = |image, mask_image| {
            let params = GenerationParams::new(Request { image, mask_image, ..request() }, &DEFAULTS).expect("a task");
            (params.task(), params.strength(), params.height(), params.width())
        };
        assert_eq!(made(None, None), (Task::TextToImage, None, 64, 64));
        assert_eq!(made(image(40, 24), None), (Task::ImageToImage, Some(0.8), 24, 40));
        assert_eq!(made(image(40, 24), mask(40, 24)), (Task::Inpaint, Some(1.0), 24, 40));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |image, mask_image| Request { image, mask_image, ..request() };
        let refused = |request, want: &str| assert_eq!(complaint(request, &DEFAULTS), want);
        refused(
            of(None, mask(8, 16)),
            "mask_image: got a mask of 8 x 16 without an image, allowed is a mask of the image that is given with it",
        );
        refused(Request { strength: Some(0.5), ..request() }, "strength: got 0.5, allowed is none without an image");
        refused(
            of(image(8, 12), None),
            "image: got a height of 12, allowed is a multiple of 8 in 8 to 4096; the nearest is 16",
        );
        refused(
            of(image(0, 8), None),
            "image: got a width of 0, allowed is a multiple of 8 in 8 to 4096; the nearest is 8",
        );
        refused(of(image(8, 16), mask(16, 8)), "mask_image: got a mask of 16 x 8, allowed is the image's size, 8 x 16");
        refused(Request { height: Some(8), ..of(image(8, 16), None) }, "height: got 8, allowed is 16, the image's");
        refused(Request { width: Some(16), ..of(image(8, 16), None) }, "width: got 16, allowed is 8, the image's");
        GenerationParams::new(Request { height: Some(16), width: Some(8), ..of(image(8, 16), None) }, &DEFAULTS)
            .expect("the image's own size");
    }

    #[test]
    fn a_model_that_only_inpaints_says_so() {
        let only = "this model's only task is inpaint";
        let of = |image, mask_image| Request { image, mask_image, ..request() };
        assert_eq!(complaint(request(), &INPAINTS_ONLY), format!("image: got none, allowed is an image: {only}"));
        assert_eq!(
            complaint(of(image(8, 8), None), &INPAINTS_ONLY),
            format!("mask_image: got none, allowed is a mask of the image: {only}")
        );
        GenerationParams::new(of(image(8, 8), mask(8, 8)), &INPAINTS_ONLY).expect("its task");
        let only_text = Defaults { tasks: &[Task::TextToImage], ..DEFAULTS };
        assert_eq!(
            complaint(of(image(8, 8), None), &only_text),
            "image: got an image, allowed is none: this model's only task is text-to-image"
        );
    }

    #[test]
    fn a_strength_that_takes_no_step_says_what_would() {
        let complaint = |strength, steps| {
            let (strength, num_inference_steps) = (Some(strength), Some(steps));
            complaint(Request { image: image(8, 8), strength, num_inference_steps, ..request() }, &DEFAULTS)
        };
        assert_eq!(
            complaint(0.02, 20),
            "strength: got 0.02, allowed is at least 1/20 to take one of 20 steps, or num_inference_steps of at least 50"
        );
        assert_eq!(complaint(1e-9, 20), "strength: got 0.000000001, allowed is at least 1/20 to take one of 20 steps");
        for strength in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            let text = complaint(strength, 20);
            assert_eq!(text, format!("strength: got {strength}, allowed is a number above 0, at most 1"));
        }
    }

    proptest! {
        #[test]
        fn a_run_takes_a_step_or_is_refused(strength in 0f64..=1.0, steps in 1usize..=MAX_STEPS) {
            let request = Request {
                image: image(8, 8), strength: Some(strength), num_inference_steps: Some(steps), ..request()
            };
            match GenerationParams::new(request, &DEFAULTS) {
                Ok(params) => {
                    let skipped = params.initial_image().expect("an image").skipped_steps(steps);
                    prop_assert!(skipped < steps);
                    prop_assert_eq!(steps - skipped, (steps as f64 * strength) as usize);
                }
                Err(error) => {
                    prop_assert!(((steps as f64 * strength) as usize) == 0);
                    let of_strength = matches!(error, Error::InvalidParams { field: "strength", .. });
                    prop_assert!(of_strength, "{}", error);
                }
            }
        }
    }
}
