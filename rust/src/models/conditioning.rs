//! What a denoising network is told beside the sample and the timestep.

use candle_core::Tensor;

use crate::error::Result;

/// The conditions of one forward pass.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Text embeddings, (batch, tokens, width).
    pub embeddings: Tensor,
    /// What SDXL's network adds to the time embedding; none for others.
    pub added: Option<AddedConditioning>,
}

/// What SDXL is conditioned on beside the text (Podell et al. 2023, section 2.2): diffusers' `added_cond_kwargs`.
#[derive(Debug, Clone)]
pub struct AddedConditioning {
    /// Pooled text embeddings, (batch, width): `text_embeds`.
    pub pooled: Tensor,
    /// Original size, crop and target size in pixels, f32 (batch, 6): `time_ids`.
    pub time_ids: Tensor,
}

impl Conditioning {
    /// Conditions of text embeddings alone.
    pub fn of_text(embeddings: Tensor) -> Self {
        Self { embeddings, added: None }
    }

    /// Both, in one batch: `first` before `second`.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for shapes that differ.
    pub fn pair(first: &Self, second: &Self) -> Result<Self> {
        let both = |first: &Tensor, second: &Tensor| Tensor::cat(&[first, second], 0);
        let added = match (&first.added, &second.added) {
            (Some(first), Some(second)) => Some(AddedConditioning {
                pooled: both(&first.pooled, &second.pooled)?,
                time_ids: both(&first.time_ids, &second.time_ids)?,
            }),
            _ => None,
        };
        Ok(Self { embeddings: both(&first.embeddings, &second.embeddings)?, added })
    }

    /// The last of the batch by itself.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for an empty batch.
    pub fn last(&self) -> Result<Self> {
        let last = |tensor: &Tensor| tensor.narrow(0, tensor.dim(0)?.saturating_sub(1), 1)?.contiguous();
        let added = self.added.as_ref().map(|added| {
            Ok::<_, candle_core::Error>(AddedConditioning {
                pooled: last(&added.pooled)?,
                time_ids: last(&added.time_ids)?,
            })
        });
        Ok(Self { embeddings: last(&self.embeddings)?, added: added.transpose()? })
    }
}
