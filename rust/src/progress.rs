//! What a running generation says, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::image::Rgb8;

/// A stage of a generation, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Prompt to token ids to embeddings.
    Encode,
    /// Timesteps and seeded latents.
    Prepare,
    /// The sampling loop.
    Denoise,
    /// Latents to pixels.
    Decode,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 4] = [Self::Encode, Self::Prepare, Self::Denoise, Self::Decode];

    /// The lower-case name used on every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encode => "encode",
            Self::Prepare => "prepare",
            Self::Denoise => "denoise",
            Self::Decode => "decode",
        }
    }
}

/// One finished unit of work: a sampling step in [`Phase::Denoise`], an image in [`Phase::Decode`], the whole phase otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The phase that the unit belongs to.
    pub phase: Phase,
    /// Index of the image that the unit belongs to, from 0.
    pub image: usize,
    /// Units of this phase done so far, over all images, from 1.
    pub step: usize,
    /// Units of this phase in all, over all images.
    pub total: usize,
    /// Since the generation began.
    pub elapsed: Duration,
    /// Estimated time to the end of the whole generation; none until a step has been measured.
    pub eta: Option<Duration>,
    /// What the image looks like so far, where previews were asked for and this step has one.
    pub preview: Option<Rgb8>,
}

/// Hears every [`Step`] on the thread that generates.
pub trait Observer: Send {
    /// Called after each finished unit; an error ends the generation and is its result.
    fn on_step(&mut self, step: &Step) -> Result<()>;
}

/// Hears nothing.
impl Observer for () {
    fn on_step(&mut self, _step: &Step) -> Result<()> {
        Ok(())
    }
}

/// A flag shared between the generation and whoever may stop it; clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    own: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, but can also be cancelled alone. A child's own children do not see
    /// this token.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: Arc::default(), parent: Some(self.own.clone()) }
    }

    /// Asks the generation to stop at its next check.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called, here or on the token that this is a child of.
    pub fn is_cancelled(&self) -> bool {
        let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        set(&self.own) || self.parent.as_deref().is_some_and(set)
    }

    /// [`Error::Cancelled`] once cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
