//! Timings, progress and the estimate of what is left.

use std::time::{Duration, Instant};

use crate::allocator;
use crate::error::Result;
use crate::image::Rgb8;
use crate::progress::{CancelToken, Observer, Phase, Step};

/// What a [`Clock`] found.
pub struct Measured {
    pub timings: Vec<(Phase, Duration)>,
    pub total: Duration,
    pub peak_memory: Vec<(Phase, usize)>,
}

/// Measures one generation and tells its observer.
pub struct Clock<'a> {
    observer: &'a mut dyn Observer,
    cancel: &'a CancelToken,
    begun: Instant,
    phase_begun: Instant,
    timings: Vec<(Phase, Duration)>,
    memory: Vec<(Phase, usize)>,
    images: usize,
    steps: usize,
    done: usize,
    decode_time: Option<Duration>,
}

impl<'a> Clock<'a> {
    /// `decode_time` is what decoding one image is expected to take.
    pub fn start(
        images: usize,
        decode_time: Option<Duration>,
        observer: &'a mut dyn Observer,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        cancel.check()?;
        allocator::peak();
        let now = Instant::now();
        Ok(Self {
            observer,
            cancel,
            begun: now,
            phase_begun: now,
            timings: Vec::new(),
            memory: Vec::new(),
            images,
            steps: 0,
            done: 0,
            decode_time,
        })
    }

    /// Says how many steps the denoising will have, over all images.
    pub fn expect(&mut self, steps: usize) {
        self.steps = steps;
    }

    /// The flag that stops this generation.
    pub fn cancel(&self) -> &'a CancelToken {
        self.cancel
    }

    /// Tells of one unit of a phase that has one a step or one an image.
    pub fn step(&mut self, phase: Phase, image: usize, preview: Option<Rgb8>) -> Result<()> {
        self.done += 1;
        let (total, eta) = match phase {
            Phase::Denoise => (self.steps, self.denoise_eta()),
            _ => (self.images, self.phase_begun.elapsed().mul_f64((self.images - self.done) as f64 / self.done as f64)),
        };
        let (step, elapsed) = (self.done, self.begun.elapsed());
        self.tell(Step { phase, image, step, total, elapsed, eta: Some(eta), preview })
    }

    fn denoise_eta(&self) -> Duration {
        let spent = self.phase_begun.elapsed();
        let left = spent.mul_f64((self.steps - self.done) as f64 / self.done as f64);
        // A first picture has no measured decode yet; about two steps' time is what the common models take.
        let decode = self.decode_time.unwrap_or_else(|| spent.mul_f64(2.0 / self.done as f64));
        left + decode.mul_f64(self.images as f64)
    }

    /// Ends a phase; one that has no units of its own is told as a single one.
    pub fn finish(&mut self, phase: Phase) -> Result<()> {
        let elapsed = self.begun.elapsed();
        self.timings.push((phase, self.phase_begun.elapsed()));
        self.memory.extend(allocator::peak().map(|bytes| (phase, bytes)));
        self.phase_begun = Instant::now();
        self.done = 0;
        match phase {
            Phase::Encode | Phase::Prepare => {
                self.tell(Step { phase, image: 0, step: 1, total: 1, elapsed, eta: None, preview: None })
            }
            Phase::Denoise | Phase::Decode => Ok(()),
        }
    }

    fn tell(&mut self, step: Step) -> Result<()> {
        self.observer.on_step(&step)?;
        self.cancel.check()
    }

    /// The time of each phase and of all, and the most memory of each.
    pub fn stop(self) -> Measured {
        Measured { timings: self.timings, total: self.begun.elapsed(), peak_memory: self.memory }
    }
}
