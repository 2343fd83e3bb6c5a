//! The parameters of a generation, checked once so that nothing later can fail on them.

mod initial_image;
mod task;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::image::{Gray8, Rgb8};
use crate::prompt_syntax::PromptSyntax;
use crate::size_conditioning::SizeConditioning;
use crate::step_saving::{DeepCache, GuidanceInterval};
pub use initial_image::InitialImage;
pub use task::Task;

/// Largest height and width in pixels.
pub const MAX_SIDE: usize = 4096;
/// Most sampling steps.
pub const MAX_STEPS: usize = 1000;
/// Most images of one call.
pub const MAX_IMAGES: usize = 128;
/// Largest guidance scale.
pub const MAX_GUIDANCE: f64 = 1000.0;
/// Longest prompt, in bytes of UTF-8.
pub const MAX_PROMPT_BYTES: usize = 256 << 10;

/// What a model offers: the values that a request leaves open, and the step of its sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// Height and width must be multiples of this; 1 to [`MAX_SIDE`].
    pub size_multiple: usize,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// Sampling steps.
    pub num_inference_steps: usize,
    /// Classifier-free guidance.
    pub guidance_scale: f64,
    /// Skip connections that DeepCache may part the network at; 0 where the engine cannot.
    pub deepcache_branches: usize,
    /// Whether the engine's VAE can run in tiles.
    pub has_vae_tiles: bool,
    /// Layers of the text encoders that `clip_skip` may leave out.
    pub max_clip_skip: usize,
    /// What the model can do; at least one.
    pub tasks: &'static [Task],
    /// How much of a picture is drawn anew, above 0 to 1.
    pub image_to_image_strength: f64,
    /// The same where there is a mask.
    pub inpaint_strength: f64,
}

/// A request as it was made; what is none takes the model's default.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What to draw.
    pub prompt: String,
    /// What to draw away from; none is the empty prompt, or nothing at all for models that were trained so.
    pub negative_prompt: Option<String>,
    /// What the second text encoder reads of models that have one; none or empty is the prompt.
    pub prompt_2: Option<String>,
    /// The same of the negative prompt.
    pub negative_prompt_2: Option<String>,
    /// Sizes that SDXL is told.
    pub sizes: SizeConditioning,
    /// What to begin with, its sides multiples of [`Defaults::size_multiple`].
    pub image: Option<Rgb8>,
    /// What of `image` is drawn anew: where values are 128 or more. Of the image's size.
    pub mask_image: Option<Gray8>,
    /// How much of `image` is drawn anew, above 0 to 1, at least a step's worth.
    pub strength: Option<f64>,
    /// In pixels; that of `image` where there is one.
    pub height: Option<usize>,
    /// In pixels; that of `image` where there is one.
    pub width: Option<usize>,
    /// 1 to [`MAX_STEPS`].
    pub num_inference_steps: Option<usize>,
    /// 0 to [`MAX_GUIDANCE`]; up to 1 there is no guidance, and each step costs half.
    pub guidance_scale: Option<f64>,
    /// 0 to 1: how much of guidance's growth of contrast is taken back.
    pub guidance_rescale: f64,
    /// Fraction of the steps before the first with guidance; none is 0.
    pub guidance_start: Option<f64>,
    /// Fraction of the steps up to the last with guidance; none is 1.
    pub guidance_end: Option<f64>,
    /// Steps from one with the whole network to the next, 1 or more; none is 1.
    pub deepcache_interval: Option<usize>,
    /// Below [`Defaults::deepcache_branches`]; none is 0.
    pub deepcache_branch: Option<usize>,
    /// Layers of the text encoders that are left out at their end, up to [`Defaults::max_clip_skip`].
    pub clip_skip: Option<usize>,
    /// How the prompts are read.
    pub prompt_syntax: PromptSyntax,
    /// Whether pictures are decoded in tiles; none does so where the memory asks for it.
    pub vae_tiling: Option<bool>,
    /// 1 to [`MAX_IMAGES`].
    pub num_images_per_prompt: usize,
    /// Seed of the first image; image i has `seed + i`. None draws one.
    pub seed: Option<u64>,
    /// When the observer is shown what an image looks like so far.
    pub previews: Previews,
}

/// Pictures of images half way, for the observer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Previews {
    /// Steps of an image between two previews, 0 to [`MAX_STEPS`]; 0 makes none.
    pub every: usize,
    /// Whether the VAE decodes them, at the cost of a whole decode each; else the preview's own VAE does where there is
    /// one, or they are estimated from the latents, and have one pixel for each of their positions.
    pub decode: bool,
}

impl Previews {
    /// Whether there is one after step `index` of an image.
    pub fn after(self, index: usize) -> bool {
        self.every > 0 && (index + 1).is_multiple_of(self.every)
    }
}

/// Parameters that hold every bound above.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationParams {
    prompt: String,
    negative_prompt: Option<String>,
    prompt_2: Option<String>,
    negative_prompt_2: Option<String>,
    sizes: SizeConditioning,
    initial_image: Option<InitialImage>,
    height: usize,
    width: usize,
    num_inference_steps: usize,
    guidance_scale: f64,
    guidance_rescale: f64,
    guidance_interval: GuidanceInterval,
    deepcache: DeepCache,
    clip_skip: Option<usize>,
    prompt_syntax: PromptSyntax,
    vae_tiling: Option<bool>,
    seeds: Vec<u64>,
    previews: Previews,
}

impl GenerationParams {
    /// Checks `request` and fills in what it leaves open.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] that names the first field that is out of its range, [`Error::Checkpoint`] for
    /// `defaults` that no size could hold.
    pub fn new(request: Request, defaults: &Defaults) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&defaults.size_multiple) {
            let given = defaults.size_multiple;
            return Err(Error::Checkpoint(format!(
                "the model's sizes are multiples of {given}, allowed is 1 to {MAX_SIDE}"
            )));
        }
        check_prompt("prompt", &request.prompt)?;
        for (field, text) in [
            ("negative_prompt", &request.negative_prompt),
            ("prompt_2", &request.prompt_2),
            ("negative_prompt_2", &request.negative_prompt_2),
        ] {
            check_prompt(field, text.as_deref().unwrap_or_default())?;
        }
        request.sizes.check()?;
        let steps = request.num_inference_steps.unwrap_or(defaults.num_inference_steps);
        if !(1..=MAX_STEPS).contains(&steps) {
            return Err(Error::invalid("num_inference_steps", steps, format!("1 to {MAX_STEPS}")));
        }
        let (image, mask_image) = (request.image, request.mask_image);
        let initial_image = InitialImage::new(image, mask_image, request.strength, steps, defaults)?;
        let of_image = initial_image.as_ref().map(InitialImage::image);
        let height = side_of_image("height", request.height, of_image.map(|image| image.height))?;
        let width = side_of_image("width", request.width, of_image.map(|image| image.width))?;
        let guidance = request.guidance_scale.unwrap_or(defaults.guidance_scale);
        if !(0.0..=MAX_GUIDANCE).contains(&guidance) {
            return Err(Error::invalid("guidance_scale", guidance, format!("a number in 0 to {MAX_GUIDANCE}")));
        }
        if !(0.0..=1.0).contains(&request.guidance_rescale) {
            return Err(Error::invalid("guidance_rescale", request.guidance_rescale, "a number in 0 to 1"));
        }
        let guidance_interval = GuidanceInterval::new(request.guidance_start, request.guidance_end)?;
        let branches = defaults.deepcache_branches;
        let deepcache = DeepCache::new(request.deepcache_interval, request.deepcache_branch, branches)?;
        check_clip_skip(request.clip_skip, defaults)?;
        check_tiling(request.vae_tiling, defaults)?;
        let images = request.num_images_per_prompt;
        if !(1..=MAX_IMAGES).contains(&images) {
            return Err(Error::invalid("num_images_per_prompt", images, format!("1 to {MAX_IMAGES}")));
        }
        if request.previews.every > MAX_STEPS {
            return Err(Error::invalid("preview_every", request.previews.every, format!("0 to {MAX_STEPS}")));
        }
        let seed = match request.seed {
            Some(seed) => seed,
            None => u64::from(getrandom::u32().map_err(|error| Error::Inference(error.to_string()))?),
        };
        let last = seed
            .checked_add(images as u64 - 1)
            .ok_or_else(|| Error::invalid("seed", seed, format!("at most {} for {images} images", u64::MAX)))?;
        Ok(Self {
            height: side("height", height.unwrap_or(defaults.height), defaults.size_multiple)?,
            width: side("width", width.unwrap_or(defaults.width), defaults.size_multiple)?,
            prompt: request.prompt,
            negative_prompt: request.negative_prompt,
            prompt_2: request.prompt_2,
            negative_prompt_2: request.negative_prompt_2,
            sizes: request.sizes,
            initial_image,
            num_inference_steps: steps,
            guidance_scale: guidance,
            guidance_rescale: request.guidance_rescale,
            guidance_interval,
            deepcache,
            clip_skip: request.clip_skip,
            prompt_syntax: request.prompt_syntax,
            vae_tiling: request.vae_tiling,
            seeds: (seed..=last).collect(),
            previews: request.previews,
        })
    }

    /// What to draw.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// What to draw away from.
    pub fn negative_prompt(&self) -> Option<&str> {
        self.negative_prompt.as_deref()
    }

    /// What the second text encoder reads; the prompt unless it is told otherwise.
    pub fn prompt_2(&self) -> Option<&str> {
        self.prompt_2.as_deref().filter(|text| !text.is_empty())
    }

    /// The same of the negative prompt.
    pub fn negative_prompt_2(&self) -> Option<&str> {
        self.negative_prompt_2.as_deref().filter(|text| !text.is_empty())
    }

    /// Sizes that SDXL is told.
    pub fn sizes(&self) -> SizeConditioning {
        self.sizes
    }

    /// What to begin with; none for noise alone.
    pub fn initial_image(&self) -> Option<&InitialImage> {
        self.initial_image.as_ref()
    }

    /// How much of the initial image is drawn anew; none where there is none.
    pub fn strength(&self) -> Option<f64> {
        self.initial_image().map(InitialImage::strength)
    }

    /// What kind of generation this is.
    pub fn task(&self) -> Task {
        match self.initial_image().map(InitialImage::mask_image) {
            None => Task::TextToImage,
            Some(None) => Task::ImageToImage,
            Some(Some(_)) => Task::Inpaint,
        }
    }

    /// In pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// In pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Sampling steps.
    pub fn num_inference_steps(&self) -> usize {
        self.num_inference_steps
    }

    /// Classifier-free guidance (Ho and Salimans 2022), as diffusers counts it: 1 is none.
    pub fn guidance_scale(&self) -> f64 {
        self.guidance_scale
    }

    /// How much of guidance's growth of contrast is taken back, 0 to 1: phi of Lin et al. (2023), section 3.4.
    pub fn guidance_rescale(&self) -> f64 {
        self.guidance_rescale
    }

    /// Whether the network also runs on the negative prompt.
    pub fn is_guided(&self) -> bool {
        self.guidance_scale > 1.0
    }

    /// The steps that have guidance, if any has.
    pub fn guidance_interval(&self) -> GuidanceInterval {
        self.guidance_interval
    }

    /// How often the network's deep half runs.
    pub fn deepcache(&self) -> DeepCache {
        self.deepcache
    }

    /// Layers of the text encoders that are left out at their end.
    pub fn clip_skip(&self) -> Option<usize> {
        self.clip_skip
    }

    /// How the prompts are read.
    pub fn prompt_syntax(&self) -> PromptSyntax {
        self.prompt_syntax
    }

    /// Whether pictures are decoded in tiles; none where the memory decides.
    pub fn vae_tiling(&self) -> Option<bool> {
        self.vae_tiling
    }

    /// One seed an image.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// When the observer is shown what an image looks like so far.
    pub fn previews(&self) -> Previews {
        self.previews
    }
}

/// Refuses a text that is longer than [`MAX_PROMPT_BYTES`]; `field` is the parameter's name in the error.
pub(crate) fn check_prompt(field: &'static str, text: &str) -> Result<()> {
    if text.len() <= MAX_PROMPT_BYTES {
        return Ok(());
    }
    Err(Error::invalid(field, format_args!("{} bytes", text.len()), format!("at most {MAX_PROMPT_BYTES} bytes")))
}

/// Refuses to leave out more layers of the text encoders than there are.
pub(crate) fn check_clip_skip(clip_skip: Option<usize>, defaults: &Defaults) -> Result<()> {
    match clip_skip {
        Some(given) if given > defaults.max_clip_skip => {
            Err(Error::invalid("clip_skip", given, format!("none, or 0 to {} for this model", defaults.max_clip_skip)))
        }
        _ => Ok(()),
    }
}

/// Refuses tiles where the engine has none.
pub(crate) fn check_tiling(tiled: Option<bool>, defaults: &Defaults) -> Result<()> {
    match tiled {
        Some(true) if !defaults.has_vae_tiles => {
            Err(Error::invalid("vae_tiling", true, "none or false with the engine candle"))
        }
        _ => Ok(()),
    }
}

fn side(field: &'static str, given: usize, multiple: usize) -> Result<usize> {
    nearest_side(given, multiple).map_err(|allowed| Error::invalid(field, given, allowed))
}

/// `given` where it is allowed, else what would be.
fn nearest_side(given: usize, multiple: usize) -> Result<usize, String> {
    let largest = MAX_SIDE / multiple * multiple;
    if given.is_multiple_of(multiple) && (multiple..=largest).contains(&given) {
        return Ok(given);
    }
    let nearest = (given.min(largest) + multiple / 2) / multiple * multiple;
    let nearest = nearest.clamp(multiple, largest);
    Err(format!("a multiple of {multiple} in {multiple} to {largest}; the nearest is {nearest}"))
}

/// The side that was asked for, which can only be the image's where there is one.
fn side_of_image(field: &'static str, given: Option<usize>, of_image: Option<usize>) -> Result<Option<usize>> {
    match (given, of_image) {
        (Some(given), Some(side)) if given != side => Err(Error::invalid(field, given, format!("{side}, the image's"))),
        _ => Ok(of_image.or(given)),
    }
}
