//! Seeds to latents and schedules.

use candle_core::{DType, Device, Shape, Tensor};

use super::Pipeline;
use super::image_to_image::begin_index;
use super::inpaint::{Canvas, Inpainting};
use crate::error::Result;
use crate::models::Posterior;
use crate::params::GenerationParams;
use crate::progress::CancelToken;
use crate::rng::TorchGenerator;
use crate::schedulers::{self, Scheduler, SchedulerKind, SchedulerOptions};

/// One picture before its first step.
pub struct Drawing {
    /// f32 (1, channels, h, w), under the noise that there is before the first step.
    pub latents: Tensor,
    /// Index of the first step.
    pub begin: usize,
    /// What keeps a part of the initial image.
    pub inpainting: Option<Inpainting>,
    /// The picture's own schedule, since multistep solvers remember.
    pub scheduler: Box<dyn Scheduler>,
    /// The picture's own random numbers, behind the draw of `latents`.
    pub noise: Noise,
}

impl Drawing {
    /// How many steps it takes.
    pub fn steps(&self) -> usize {
        self.scheduler.timesteps().len() - self.begin
    }
}

/// What the pictures of a generation begin with, beside noise.
enum Start {
    Noise,
    Image(Posterior),
    Canvas(Canvas),
}

/// Standard normal noise on a device, drawn on the host so that one seed means one picture everywhere.
pub struct Noise {
    generator: TorchGenerator,
    device: Device,
}

impl Noise {
    /// The noise of `seed`, from its beginning.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { generator: TorchGenerator::new(seed), device: device.clone() }
    }

    /// The next f32 draw of `shape`.
    pub fn draw(&mut self, shape: &Shape) -> Result<Tensor> {
        let values = self.generator.randn(shape.elem_count());
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(&self.device)?)
    }
}

impl Pipeline {
    pub(super) fn prepare(
        &self,
        params: &GenerationParams,
        kind: SchedulerKind,
        options: &SchedulerOptions,
        cancel: &CancelToken,
    ) -> Result<Vec<Drawing>> {
        let (channels, height, width) = self.model.latent_shape(params.height(), params.width());
        let shape = Shape::from((1, channels, height, width));
        let create = || schedulers::create(kind, &self.model.scheduler, params.num_inference_steps(), options);
        // Before the picture is encoded, which takes longer than to say what is wrong.
        let begin = begin_index(params, create()?.as_ref())?;
        let start = self.start(params, cancel)?;
        let draw = |seed: &u64| {
            cancel.check()?;
            let scheduler = create()?;
            let mut noise = Noise::new(*seed, &self.device);
            let (latents, inpainting) = match &start {
                Start::Noise => ((noise.draw(&shape)?.to_dtype(DType::F32)? * scheduler.init_noise_sigma())?, None),
                Start::Image(posterior) => {
                    let image_latents = self.sample_latents(posterior, &mut noise)?;
                    (scheduler.add_noise(&image_latents, &noise.draw(&shape)?, begin)?, None)
                }
                Start::Canvas(canvas) => {
                    let begun = self.begin_inpainting(canvas, &shape, scheduler.as_ref(), begin, &mut noise)?;
                    (begun.0, Some(begun.1))
                }
            };
            Ok(Drawing { latents, begin, inpainting, scheduler, noise })
        };
        params.seeds().iter().map(draw).collect()
    }

    fn start(&self, params: &GenerationParams, cancel: &CancelToken) -> Result<Start> {
        let Some(initial_image) = params.initial_image() else { return Ok(Start::Noise) };
        match initial_image.mask_image() {
            None => self.image_posterior(initial_image, cancel).map(Start::Image),
            Some(mask_image) => self.canvas(initial_image, mask_image, cancel).map(Start::Canvas),
        }
    }
}
