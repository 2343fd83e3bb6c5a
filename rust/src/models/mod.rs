//! The networks, each after diffusers' class of the same name, and the traits that the pipeline knows them by.

mod autoencoder_config;
mod autoencoder_tiny;
mod clip;
mod config;
mod deep_features;
mod flops;
mod resnet;
mod transformer;
mod unet;
mod unet_blocks;
mod unet_config;
mod vae;

pub use crate::nn::Activation;
pub use autoencoder_config::AutoencoderConfig;
pub use autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig};
pub use clip::{ClipTextConfig, ClipTextModel};
pub use config::Fields;
pub use deep_features::DeepFeatures;
pub use unet::UNet2DConditionModel;
pub use unet_config::{UNet2DConditionConfig, UNetBlockKind, UNetMidKind};
pub use vae::{AutoencoderKl, AutoencoderKlConfig};

use candle_core::{Shape, Tensor};

use crate::error::Result;
use crate::progress::CancelToken;

/// Token ids to embeddings.
pub trait TextEncoder: Send + Sync {
    /// Ids of one prompt, exactly [`TextEncoder::window`] of them, to the last hidden state after the final layer
    /// norm, shape (1, window, width).
    fn encode(&self, ids: &[u32]) -> Result<Tensor>;
    /// Number of tokens that the encoder takes, begin and end tokens included.
    fn window(&self) -> usize;
}

/// The network of the sampling loop.
pub trait Denoiser: Send + Sync {
    /// The raw output (epsilon or v) for `sample` (batch, channels, height, width) at one timestep, with
    /// `embeddings` (batch, window, width).
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`] soon after `cancel` is set.
    fn predict(&self, sample: &Tensor, timestep: f64, embeddings: &Tensor, cancel: &CancelToken) -> Result<Tensor>;

    /// [`Denoiser::predict`] whose deep half runs only where `features` holds nothing, which it fills then.
    ///
    /// # Errors
    /// As above; [`crate::Error::Inference`] for a network that has no such halves.
    fn predict_cached(
        &self,
        sample: &Tensor,
        timestep: f64,
        embeddings: &Tensor,
        features: &mut DeepFeatures,
        cancel: &CancelToken,
    ) -> Result<Tensor>;
}

/// Pixels to latents and back. Latents are unscaled here: the pipeline multiplies by `scaling_factor`.
pub trait Autoencoder: Send + Sync {
    /// The posterior over latents of `pixels` (batch, 3, height, width) in -1 to 1.
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior>;
    /// Pixels (batch, 3, height, width), about -1 to 1, of `latents` (batch, channels, height/factor, width/factor).
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor>;
}

/// A diagonal Gaussian over latents, after diffusers' `DiagonalGaussianDistribution`.
pub struct Posterior {
    /// Mean, which is the mode.
    pub mean: Tensor,
    /// Standard deviation, from a log-variance clamped to -30..20; none where the mean is all there is.
    pub std: Option<Tensor>,
}

impl Posterior {
    /// Splits (batch, 2 channels, h, w) into mean and log-variance.
    pub fn from_moments(moments: &Tensor) -> Result<Self> {
        let halves = moments.chunk(2, 1)?;
        let (mean, log_variance) = (halves[0].contiguous()?, halves[1].contiguous()?);
        Ok(Self { mean, std: Some((log_variance.clamp(-30f32, 20f32)? * 0.5)?.exp()?) })
    }

    /// The value at what `noise` draws, standard normal of the mean's shape; nothing is drawn where there is no
    /// deviation, so that the generator's next draw is diffusers'.
    pub fn sample(&self, noise: impl FnOnce(&Shape) -> Result<Tensor>) -> Result<Tensor> {
        match &self.std {
            Some(std) => Ok((&self.mean + (std * noise(std.shape())?)?)?),
            None => Ok(self.mean.clone()),
        }
    }
}
