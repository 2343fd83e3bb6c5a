//! The `candle` engine: candle-transformers' own stable_diffusion networks behind the traits of [`crate::models`].
//!
//! It is the yardstick for cross-checks and benchmarks. Where candle departs from diffusers it departs too: CLIP's
//! gelu and the UNet's GEGLU are the tanh ones, and SDXL's UNet sees neither pooled text nor sizes.

use std::collections::HashMap;
use std::sync::Mutex;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::stable_diffusion::{clip, unet_2d, vae};

use crate::device;
use crate::error::{Error, Result, plain};
use crate::models::{
    self, Activation, AutoencoderConfig, AutoencoderKlConfig, ClipTextConfig, Conditioning, DeepFeatures, Denoiser,
    HiddenState, Posterior, TextEncoder, TextEncoding, UNet2DConditionConfig, UNetBlockKind, UNetMidKind,
};
use crate::nn::weights::TensorSource;
use crate::progress::CancelToken;

/// Every tensor of `source`, plain: variables would keep every intermediate for a backward pass.
fn load(source: &dyn TensorSource, dtype: DType, device: &Device) -> Result<HashMap<String, Tensor>> {
    source.names().into_iter().map(|name| Ok((name.clone(), source.load(&name, dtype, device)?))).collect()
}

fn misfit(error: candle_core::Error) -> Error {
    Error::Checkpoint(format!("the candle engine cannot build this model: {}", plain(&error)))
}

/// candle's `ClipTextTransformer`.
pub struct Clip {
    model: Mutex<clip::ClipTextTransformer>,
    window: usize,
    device: Device,
}

impl Clip {
    /// The preset of candle's that has this shape, if there is one: the fields of its configuration are private.
    pub fn preset(config: &ClipTextConfig) -> Option<clip::Config> {
        let shape =
            |hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, hidden_act| ClipTextConfig {
                vocab_size: 49_408,
                hidden_size,
                intermediate_size,
                num_hidden_layers,
                num_attention_heads,
                max_position_embeddings: 77,
                hidden_act,
                layer_norm_eps: 1e-5,
                eos_token_id: config.eos_token_id,
                projection_dim: None,
            };
        if *config == shape(768, 3072, 12, 12, Activation::QuickGelu) {
            Some(clip::Config::v1_5())
        } else if *config == shape(1024, 4096, 23, 16, Activation::Gelu) {
            Some(clip::Config::v2_1())
        } else {
            None
        }
    }

    /// Builds from tensors named as transformers 5 names them.
    pub fn new(source: &dyn TensorSource, preset: &clip::Config, dtype: DType, device: &Device) -> Result<Self> {
        let tensors = load(source, dtype, device)?;
        let tensors = tensors.into_iter().map(|(name, tensor)| (format!("text_model.{name}"), tensor)).collect();
        let weights = VarBuilder::from_tensors(tensors, dtype, device);
        let model = clip::ClipTextTransformer::new(weights, preset).map_err(misfit)?;
        Ok(Self { model: Mutex::new(model), window: preset.max_position_embeddings, device: device.clone() })
    }
}

impl TextEncoder for Clip {
    fn encode(&self, ids: &[u32], state: HiddenState) -> Result<TextEncoding> {
        if state != (HiddenState { skipped: 0, normed: true }) {
            return Err(Error::Inference("the candle engine's text encoder gives its last hidden state alone".into()));
        }
        let ids = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let model = self.model.lock().map_err(|_| Error::Inference("the text encoder panicked before".into()))?;
        Ok(TextEncoding { hidden: model.forward(&ids)?, pooled: None })
    }

    fn window(&self) -> usize {
        self.window
    }
}

/// candle's `UNet2DConditionModel`.
pub struct UNet(unet_2d::UNet2DConditionModel);

impl UNet {
    /// Builds from tensors named as diffusers names them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a shape that candle's configuration cannot say.
    pub fn new(
        source: &dyn TensorSource,
        config: &UNet2DConditionConfig,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let weights = VarBuilder::from_tensors(load(source, dtype, device)?, dtype, device);
        let flash = device::has_flash_attention(device);
        let (inputs, outputs) = (config.in_channels, config.out_channels);
        unet_2d::UNet2DConditionModel::new(weights, inputs, outputs, flash, unet_config(config)?)
            .map(Self)
            .map_err(misfit)
    }
}

fn unet_config(config: &UNet2DConditionConfig) -> Result<unet_2d::UNet2DConditionModelConfig> {
    let mirrored = config.down_block_types.iter().eq(config.up_block_types.iter().rev());
    let layers_per_block = config.layers_per_block[0];
    let uniform = config.layers_per_block.iter().all(|layers| *layers == layers_per_block);
    if !mirrored || !uniform || config.mid_block_type == UNetMidKind::Absent {
        return Err(Error::Checkpoint(
            "unet: the candle engine takes only mirrored blocks, one number of layers, and a middle block".into(),
        ));
    }
    let blocks = config.down_block_types.iter().enumerate().map(|(level, kind)| unet_2d::BlockConfig {
        out_channels: config.block_out_channels[level],
        use_cross_attn: (*kind == UNetBlockKind::CrossAttention).then(|| config.transformer_layers_per_block[level]),
        attention_head_dim: config.num_attention_heads[level],
    });
    Ok(unet_2d::UNet2DConditionModelConfig {
        center_input_sample: false,
        flip_sin_to_cos: config.flip_sin_to_cos,
        freq_shift: config.freq_shift,
        blocks: blocks.collect(),
        layers_per_block,
        downsample_padding: config.downsample_padding,
        mid_block_scale_factor: 1.0,
        norm_num_groups: config.norm_num_groups,
        norm_eps: config.norm_eps,
        cross_attention_dim: config.cross_attention_dim,
        sliced_attention_size: None,
        use_linear_projection: config.use_linear_projection,
    })
}

impl Denoiser for UNet {
    fn predict(
        &self,
        sample: &Tensor,
        timestep: f64,
        conditions: &Conditioning,
        cancel: &CancelToken,
    ) -> Result<Tensor> {
        cancel.check()?;
        Ok(self.0.forward(sample, timestep, &conditions.embeddings)?)
    }

    fn predict_cached(
        &self,
        _: &Tensor,
        _: f64,
        _: &Conditioning,
        _: &mut DeepFeatures,
        _: &CancelToken,
    ) -> Result<Tensor> {
        Err(Error::Inference("the candle engine's UNet keeps no features".into()))
    }
}

/// Log-variance at which candle's unseeded noise vanishes: `exp(-1000 / 2)` is zero in every dtype.
const NO_NOISE: f64 = -1000.0;

/// Whether pictures can be encoded; a tiny autoencoder is always this crate's.
pub fn encodes(config: &AutoencoderConfig) -> bool {
    match config {
        AutoencoderConfig::Kl(config) => config.use_quant_conv,
        AutoencoderConfig::Tiny(_) => true,
    }
}

fn autoencoder(
    tensors: HashMap<String, Tensor>,
    config: &AutoencoderKlConfig,
    dtype: DType,
    device: &Device,
) -> Result<vae::AutoEncoderKL> {
    if !config.mid_block_add_attention {
        return Err(Error::Checkpoint("vae: the candle engine takes only a middle block with attention".into()));
    }
    let shape = vae::AutoEncoderKLConfig {
        block_out_channels: config.block_out_channels.clone(),
        layers_per_block: config.layers_per_block,
        latent_channels: config.latent_channels,
        norm_num_groups: config.norm_num_groups,
        use_quant_conv: config.use_quant_conv,
        use_post_quant_conv: config.use_post_quant_conv,
    };
    let weights = VarBuilder::from_tensors(tensors, dtype, device);
    vae::AutoEncoderKL::new(weights, config.in_channels, config.out_channels, shape).map_err(misfit)
}

/// candle's `AutoEncoderKL`, for decoding.
pub struct VaeDecoder(vae::AutoEncoderKL);

impl VaeDecoder {
    /// Builds from tensors named as diffusers names them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a shape that candle's configuration cannot say.
    pub fn new(source: &dyn TensorSource, config: &AutoencoderKlConfig, dtype: DType, device: &Device) -> Result<Self> {
        autoencoder(load(source, dtype, device)?, config, dtype, device).map(Self)
    }
}

impl models::VaeDecoder for VaeDecoder {
    fn decode(&self, latents: &Tensor, cancel: &CancelToken) -> Result<Tensor> {
        cancel.check()?;
        Ok(self.0.decode(latents)?)
    }

    fn decode_tiled(&self, _: &Tensor, _: &CancelToken) -> Result<Tensor> {
        Err(Error::Inference("the candle engine's VAE has no tiles".into()))
    }
}

/// candle's `AutoEncoderKL`, for encoding.
///
/// candle gives a sample of the posterior with noise that cannot be seeded, and never the posterior. So it is built
/// twice over the same tensors, each time with one half of the moments as the mean of a posterior without noise.
pub struct VaeEncoder([vae::AutoEncoderKL; 2]);

impl VaeEncoder {
    /// Builds from tensors named as diffusers names them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a shape that candle's configuration cannot say, or one that does not [encode](encodes).
    pub fn new(source: &dyn TensorSource, config: &AutoencoderKlConfig, dtype: DType, device: &Device) -> Result<Self> {
        let mut tensors = load(source, dtype, device)?;
        let quant_conv = (tensors.remove("quant_conv.weight"), tensors.remove("quant_conv.bias"));
        let (Some(weight), Some(bias)) = quant_conv else {
            return Err(Error::Checkpoint("vae: the candle engine encodes only with a quant_conv".into()));
        };
        let of_half = |half: usize| {
            let channels = config.latent_channels;
            let (weight, bias) =
                (weight.narrow(0, half * channels, channels)?, bias.narrow(0, half * channels, channels)?);
            let mut tensors = tensors.clone();
            tensors.insert("quant_conv.weight".into(), Tensor::cat(&[&weight, &weight.zeros_like()?], 0)?);
            let no_noise = bias.zeros_like()?.affine(1.0, NO_NOISE)?;
            tensors.insert("quant_conv.bias".into(), Tensor::cat(&[&bias, &no_noise], 0)?);
            autoencoder(tensors, config, dtype, device)
        };
        Ok(Self([of_half(0)?, of_half(1)?]))
    }
}

impl models::VaeEncoder for VaeEncoder {
    fn encode(&self, pixels: &Tensor, cancel: &CancelToken) -> Result<Posterior> {
        let half = |model: &vae::AutoEncoderKL| -> Result<Tensor> {
            cancel.check()?;
            Ok(model.encode(pixels)?.sample()?)
        };
        let [mean, log_variance] = &self.0;
        Posterior::from_moments(&Tensor::cat(&[half(mean)?, half(log_variance)?], 1)?)
    }

    fn encode_tiled(&self, _: &Tensor, _: &CancelToken) -> Result<Posterior> {
        Err(Error::Inference("the candle engine's VAE has no tiles".into()))
    }
}
