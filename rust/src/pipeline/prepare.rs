//! Seeds to latents and schedules.

use candle_core::{DType, Device, Shape, Tensor};

use super::Pipeline;
use crate::error::Result;
use crate::params::GenerationParams;
use crate::rng::TorchGenerator;
use crate::schedulers::{self, Scheduler, SchedulerKind, SchedulerOptions};

/// One picture before its first step.
pub struct Drawing {
    /// f32 (1, channels, h, w), scaled to the schedule's first sigma.
    pub latents: Tensor,
    /// The picture's own schedule, since multistep solvers remember.
    pub scheduler: Box<dyn Scheduler>,
    /// The picture's own random numbers, behind the draw of `latents`.
    pub noise: Noise,
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
    ) -> Result<Vec<Drawing>> {
        let (channels, height, width) = self.model.latent_shape(params.height(), params.width());
        let shape = Shape::from((1, channels, height, width));
        let draw = |seed: &u64| {
            let scheduler = schedulers::create(kind, &self.model.scheduler, params.num_inference_steps(), options)?;
            let mut noise = Noise::new(*seed, &self.device);
            let latents = (noise.draw(&shape)?.to_dtype(DType::F32)? * scheduler.init_noise_sigma())?;
            Ok(Drawing { latents, scheduler, noise })
        };
        params.seeds().iter().map(draw).collect()
    }
}
