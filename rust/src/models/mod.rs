//! The networks, each after diffusers' class of the same name, and the traits that the pipeline knows them by.

mod autoencoder_config;
mod autoencoder_kl_blocks;
mod autoencoder_kl_config;
mod autoencoder_kl_decoder;
mod autoencoder_kl_encoder;
mod autoencoder_tiny;
mod autoencoder_tiny_config;
mod clip;
mod conditioning;
mod config;
mod deep_features;
mod flops;
mod resnet;
mod text_time;
mod tiles;
mod transformer;
mod unet;
mod unet_blocks;
mod unet_config;

pub use crate::nn::Activation;
pub use autoencoder_config::AutoencoderConfig;
pub use autoencoder_kl_config::AutoencoderKlConfig;
pub use autoencoder_kl_decoder::AutoencoderKlDecoder;
pub use autoencoder_kl_encoder::AutoencoderKlEncoder;
pub use autoencoder_tiny::{AutoencoderTinyDecoder, AutoencoderTinyEncoder};
pub use autoencoder_tiny_config::AutoencoderTinyConfig;
pub use clip::{ClipTextConfig, ClipTextModel};
pub use conditioning::{AddedConditioning, Conditioning};
pub use config::Fields;
pub use deep_features::DeepFeatures;
pub use tiles::TILE_SIDE;
pub use unet::UNet2DConditionModel;
pub use unet_config::{TextTimeConfig, UNet2DConditionConfig, UNetBlockKind, UNetMidKind};

use candle_core::{Shape, Tensor};

use crate::error::Result;
use crate::progress::CancelToken;

/// Which of a text encoder's hidden states a UNet was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiddenState {
    /// Layers before the end; 0 is the last one's output.
    pub skipped: usize,
    /// Whether the final layer norm follows.
    pub normed: bool,
}

/// What a text encoder makes of one prompt.
#[derive(Debug, Clone)]
pub struct TextEncoding {
    /// The hidden state asked for, (1, window, width).
    pub hidden: Tensor,
    /// The projected state of the end token, (1, projection width), of encoders that have a projection.
    pub pooled: Option<Tensor>,
}

/// Token ids to embeddings.
pub trait TextEncoder: Send + Sync {
    /// Ids of one prompt, exactly [`TextEncoder::window`] of them.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for another number of ids, for more layers skipped than there are, and for a state
    /// that this encoder does not give; [`crate::Error::Checkpoint`] for an id outside of its table.
    fn encode(&self, ids: &[u32], state: HiddenState) -> Result<TextEncoding>;
    /// Number of tokens that the encoder takes, begin and end tokens included.
    fn window(&self) -> usize;
}

/// The network of the sampling loop.
pub trait Denoiser: Send + Sync {
    /// The raw output (epsilon or v) for `sample` (batch, channels, height, width) at one timestep, under conditions of
    /// the same batch.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`] soon after `cancel` is set; [`crate::Error::Inference`] where added conditions are
    /// missing that the network was trained on.
    fn predict(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        cancel: &CancelToken,
    ) -> Result<Tensor>;

    /// [`Denoiser::predict`] whose deep half runs only where `features` holds nothing, which it fills then.
    ///
    /// # Errors
    /// As above; [`crate::Error::Inference`] for a network that has no such halves.
    fn predict_cached(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        features: &mut DeepFeatures,
        cancel: &CancelToken,
    ) -> Result<Tensor>;
}

/// Pixels to latents. Latents are unscaled here: the pipeline multiplies by `scaling_factor`.
///
/// # Errors
/// [`crate::Error::Cancelled`] soon after `cancel` is set.
pub trait VaeEncoder: Send + Sync {
    /// The posterior over latents of `pixels` (batch, 3, height, width) in -1 to 1.
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior>;
    /// [`VaeEncoder::encode`] in memory that hardly grows with the picture: the levels next to the pixels run in tiles.
    fn encode_tiled(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior>;
}

/// Unscaled latents to pixels.
///
/// # Errors
/// [`crate::Error::Cancelled`] soon after `cancel` is set.
pub trait VaeDecoder: Send + Sync {
    /// Pixels (batch, 3, height, width), about -1 to 1, of `latents` (batch, channels, height/factor, width/factor).
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor>;
    /// [`VaeDecoder::decode`] in memory that hardly grows with the picture: the levels next to the pixels run in tiles.
    fn decode_tiled(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor>;
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
