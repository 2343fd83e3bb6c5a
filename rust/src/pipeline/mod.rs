//! From a prompt to pictures, a file a stage: encode, prepare, denoise, decode.

mod clock;
mod decode;
mod denoise;
mod encode;
mod engine;
mod image_to_image;
mod ineffective;
mod inpaint;
mod load;
mod networks;
mod prepare;
mod preview;
mod shapes;
mod sources;
mod vae;

use std::sync::OnceLock;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};

use crate::device::{self, Residency};
use crate::error::Result;
use crate::family::StableDiffusion;
use crate::image::Rgb8;
use crate::models::{Conditioning, Denoiser, Posterior};
use crate::params::{GenerationParams, check_tiling};
use crate::progress::{CancelToken, Observer, Phase};
use crate::schedulers::{SchedulerKind, SchedulerOptions};
use crate::threads::Threads;
use crate::tokenizer::{ClipTokenizer, Truncation};

use clock::{Clock, Measured};
use decode::Tiling;
pub use encode::Reading;
use encode::TextStage;
pub use engine::Engine;
pub use image_to_image::begin_index;
use prepare::Drawing;
pub use prepare::Noise;
use preview::LatentColours;
pub use sources::Overrides;
use vae::VaeStage;

/// Growth of the process between two generations that is worth a word, in bytes.
const GROWTH: u64 = 64 << 20;

/// A model in memory.
pub struct Pipeline {
    model: StableDiffusion,
    text: Vec<TextStage>,
    unet: Box<dyn Denoiser>,
    vae: VaeStage,
    preview_vae: Option<VaeStage>,
    threads: Threads,
    device: Device,
    dtype: DType,
    engine: Engine,
    residency: Vec<Residency>,
    resident_bytes: Option<u64>,
    decode_cost: Option<DecodeCost>,
    latent_colours: OnceLock<LatentColours>,
}

/// What decoding one picture of a size took, for the next estimate.
#[derive(Clone, Copy)]
struct DecodeCost {
    pixels: usize,
    time: Duration,
}

/// The sampler of one generation.
#[derive(Debug, Clone, Default)]
pub struct Sampler {
    /// None takes the model's own.
    pub kind: Option<SchedulerKind>,
    /// Spacing, sigmas, eta.
    pub options: SchedulerOptions,
}

/// A prompt that was longer than the text encoder's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTruncation {
    /// `prompt`, `negative_prompt`, or what the second text encoder was given of them.
    pub field: &'static str,
    /// What was cut.
    pub truncation: Truncation,
}

/// What one generation made.
#[derive(Debug, Clone)]
pub struct Generation {
    /// One picture a seed.
    pub images: Vec<Rgb8>,
    /// Seed of each picture.
    pub seeds: Vec<u64>,
    /// Time of each phase.
    pub timings: Vec<(Phase, Duration)>,
    /// From the call to the last picture.
    pub total: Duration,
    /// The most bytes of large blocks, the model's own included, that were in use at one time in each phase; empty where
    /// the process's allocator does not tell.
    pub peak_memory: Vec<(Phase, usize)>,
    /// Prompts that were cut.
    pub truncations: Vec<PromptTruncation>,
    /// What was given and had no effect, in words.
    pub warnings: Vec<String>,
    /// What moved or grew in memory, in words.
    pub residency_events: Vec<String>,
    /// Whether the pictures were decoded in tiles.
    pub vae_tiling: bool,
    /// The scheduler that drew.
    pub scheduler: SchedulerKind,
    /// Its options, every one filled in.
    pub options: SchedulerOptions,
}

impl Pipeline {
    /// Draws `params.seeds().len()` pictures, one after the other, so that each has the bits that it would have alone.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`] within a step of `cancel`; whatever `observer` returned; [`crate::Error::OutOfMemory`]
    /// before anything is computed if the machine's free memory is plainly too small; [`crate::Error::Inference`] for
    /// pictures that are not finite.
    pub fn generate(
        &mut self,
        params: &GenerationParams,
        sampler: &Sampler,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Generation> {
        self.threads.clone().run(|| self.draw(params, sampler, observer, cancel))
    }

    fn draw(
        &mut self,
        params: &GenerationParams,
        sampler: &Sampler,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Generation> {
        let kind = sampler.kind.unwrap_or(self.model.scheduler.default_kind());
        let Tiling { tiled, event } = self.tiling(params)?;
        let pixels = params.height() * params.width();
        let decode_time = self.decode_cost.map(|cost| cost.time.mul_f64(pixels as f64 / cost.pixels as f64));
        let mut clock = Clock::start(params.seeds().len(), decode_time, observer, cancel)?;

        let (conditions, truncations) = self.encode(params)?;
        clock.finish(Phase::Encode)?;
        let drawings = self.prepare(params, kind, &sampler.options, tiled, cancel)?;
        clock.finish(Phase::Prepare)?;
        let steps = drawings.first().map_or(0, Drawing::steps);
        clock.expect(drawings.iter().map(Drawing::steps).sum());
        let mut latents = Vec::with_capacity(drawings.len());
        for (image, drawing) in drawings.into_iter().enumerate() {
            latents.push(self.denoise(params, drawing, &conditions, (image, tiled), &mut clock)?);
        }
        // What layers made of the text goes before the decoder takes the most memory.
        drop(conditions);
        clock.finish(Phase::Denoise)?;
        let mut images = Vec::with_capacity(latents.len());
        for (image, latents) in latents.iter().enumerate() {
            images.push(self.decode(latents, tiled, cancel)?);
            clock.step(Phase::Decode, image, None)?;
        }
        clock.finish(Phase::Decode)?;

        let Measured { timings, total, peak_memory } = clock.stop();
        if let Some((_, time)) = timings.iter().find(|(phase, _)| *phase == Phase::Decode) {
            self.decode_cost = Some(DecodeCost { pixels, time: time.div_f64(images.len() as f64) });
        }
        let mut warnings = ineffective::warnings(params, &self.model, steps);
        warnings.extend(self.vaes().filter_map(VaeStage::take_warning));
        Ok(Generation {
            images,
            seeds: params.seeds().to_vec(),
            timings,
            total,
            peak_memory,
            truncations,
            warnings,
            residency_events: event.into_iter().chain(self.residency_events()).collect(),
            vae_tiling: tiled,
            scheduler: kind,
            options: sampler.options.resolved(kind, &self.model.scheduler),
        })
    }

    fn residency_events(&mut self) -> Vec<String> {
        let Some(now) = device::resident_bytes() else { return Vec::new() };
        let before = self.resident_bytes.replace(now);
        match before.map(|before| now.saturating_sub(before)) {
            Some(growth) if growth > GROWTH => {
                vec![format!("the process grew by {} MiB since the last generation", growth >> 20)]
            }
            _ => Vec::new(),
        }
    }

    /// The model's configurations and defaults.
    pub fn model(&self) -> &StableDiffusion {
        &self.model
    }

    /// The first text encoder's tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.text[0].tokenizer
    }

    /// The device that everything is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype that everything is computed in; on the CPU, what products are made of.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// `tensor` on the pipeline's device, as its networks take it.
    fn bring(&self, tensor: &Tensor) -> Result<Tensor> {
        device::bring(tensor, &self.device, self.dtype)
    }

    /// Number of threads that compute.
    pub fn num_threads(&self) -> usize {
        self.threads.count()
    }

    /// The engine that computes.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where the bytes of each component are; those of a VAE's encoder once a picture was encoded.
    pub fn residency(&self) -> Vec<Residency> {
        self.residency.iter().cloned().chain(self.vaes().filter_map(VaeStage::residency)).collect()
    }

    fn vaes(&self) -> impl Iterator<Item = &VaeStage> {
        std::iter::once(&self.vae).chain(&self.preview_vae)
    }

    /// The UNet's raw output, f32, for `sample` (batch, channels, h, w) under conditions of the same batch, which keep what
    /// layers make of them for the next call.
    ///
    /// # Errors
    /// [`crate::Error::InvalidParams`] for other shapes, for conditions that this UNet does not take or that are missing,
    /// and for a timestep that is not finite.
    pub fn predict(&self, sample: &Tensor, timestep: f64, conditions: &Conditioning) -> Result<Tensor> {
        self.check_predict(sample, timestep, conditions)?;
        let sample = self.bring(sample)?;
        let bring_time_ids = |ids: &Tensor| Ok(ids.to_device(&self.device)?.to_dtype(DType::F32)?);
        let conditions = conditions.brought(|tensor| self.bring(tensor), bring_time_ids)?;
        self.threads.run(|| self.give(&self.unet.predict(&sample, timestep, &conditions, &CancelToken::new())?))
    }

    /// Pixels, f32 (batch, 3, height, width), about -1 to 1, of unscaled `latents`, in tiles where that is asked.
    ///
    /// # Errors
    /// [`crate::Error::InvalidParams`] for another shape than (batch, channels, height, width), each divided by the factor,
    /// and for tiles where the engine has none.
    pub fn vae_decode(&self, latents: &Tensor, tiled: bool) -> Result<Tensor> {
        self.check_latents(latents)?;
        check_tiling(tiled.then_some(true), &self.model.defaults)?;
        self.threads.run(|| self.give(&self.vae.decode(latents, tiled, &CancelToken::new())?))
    }

    /// The posterior over unscaled latents of `pixels`, f32 (batch, 3, height, width) in -1 to 1, in tiles where that is
    /// asked.
    ///
    /// # Errors
    /// [`crate::Error::InvalidParams`] for another shape, for sides that are no multiples of the model's factor, and for
    /// tiles where the engine has none.
    pub fn vae_encode(&self, pixels: &Tensor, tiled: bool) -> Result<Posterior> {
        self.check_pixels(pixels)?;
        check_tiling(tiled.then_some(true), &self.model.defaults)?;
        let posterior = self.threads.run(|| self.vae.encode(pixels, tiled, &CancelToken::new()))?;
        let std = posterior.std.as_ref().map(|std| self.give(std)).transpose()?;
        Ok(Posterior { mean: self.give(&posterior.mean)?, std })
    }

    fn give(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?)
    }
}
