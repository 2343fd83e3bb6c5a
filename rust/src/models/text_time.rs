//! SDXL's conditioning on pooled text and sizes, after the `text_time` branch of diffusers' `UNet2DConditionModel`.

use candle_core::{DType, Tensor};

use super::AddedConditioning;
use super::unet_config::{TextTimeConfig, UNet2DConditionConfig};
use crate::error::{Error, Result};
use crate::nn::{TimeEmbedding, TimestepEmbedding, Weights};

/// Pooled text and sizes to what is added to the time embedding.
pub struct TextTimeEmbedding {
    add_time_proj: TimeEmbedding,
    add_embedding: TimestepEmbedding,
}

impl TextTimeEmbedding {
    /// Takes `add_embedding` of the UNet that `weights` are of.
    pub fn new(weights: &Weights, config: &UNet2DConditionConfig, added: TextTimeConfig) -> Result<Self> {
        Ok(Self {
            add_time_proj: config.sinusoids(added.addition_time_embed_dim),
            add_embedding: TimestepEmbedding::new(
                &weights.pp("add_embedding"),
                added.projection_class_embeddings_input_dim,
                config.time_embed_dim(),
            )?,
        })
    }

    /// (batch, time embedding's width) in `dtype`.
    ///
    /// # Errors
    /// [`Error::Inference`] where there is nothing to add.
    pub fn forward(&self, added: Option<&AddedConditioning>, dtype: DType) -> Result<Tensor> {
        let Some(AddedConditioning { pooled, time_ids }) = added else {
            return Err(Error::Inference("this UNet also takes pooled text embeddings and time ids".into()));
        };
        let sizes = time_ids.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let sinusoids = self.add_time_proj.forward(&sizes, pooled.device())?.reshape((pooled.dim(0)?, ()))?;
        self.add_embedding.forward(&Tensor::cat(&[&pooled.to_dtype(DType::F32)?, &sinusoids], 1)?, dtype)
    }
}
