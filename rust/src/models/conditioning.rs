//! What a denoising network is told beside the sample and the timestep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use crate::error::Result;

/// The conditions of one forward pass.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Text embeddings, (batch, tokens, width).
    pub embeddings: Tensor,
    /// What SDXL's network adds to the time embedding; none for others.
    pub added: Option<AddedConditioning>,
    /// What layers have made of these embeddings.
    pub(super) projections: Projections,
}

/// Keys and values that layers made of a text: the same at every step, and gone with the last of the conditions that they
/// were made for.
#[derive(Debug, Clone, Default)]
pub struct Projections(Arc<Mutex<HashMap<LayerId, (Tensor, Tensor)>>>);

/// Tells a layer from all others of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerId(u64);

impl LayerId {
    /// One that no other layer has.
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Projections {
    /// Those of `layer`, which `project` makes once.
    ///
    /// # Errors
    /// Whatever `project` returns.
    pub fn of(&self, layer: LayerId, project: impl FnOnce() -> Result<(Tensor, Tensor)>) -> Result<(Tensor, Tensor)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(projections) = kept.get(&layer) {
            return Ok(projections.clone());
        }
        let projections = project()?;
        kept.insert(layer, projections.clone());
        Ok(projections)
    }
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
    /// Conditions of text embeddings, and of what is added to the time embedding where something is.
    pub fn new(embeddings: Tensor, added: Option<AddedConditioning>) -> Self {
        Self { embeddings, added, projections: Projections::default() }
    }

    /// Conditions of text embeddings alone.
    pub fn of_text(embeddings: Tensor) -> Self {
        Self::new(embeddings, None)
    }

    /// The same, embeddings and pooled text after `bring` and sizes after `bring_time_ids`, which leave the values as they
    /// are: what layers make of one they have made of both.
    ///
    /// # Errors
    /// Those of the functions.
    pub fn brought(
        &self,
        bring: impl Fn(&Tensor) -> Result<Tensor>,
        bring_time_ids: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        Ok(Self { projections: self.projections.clone(), ..self.map(bring, bring_time_ids)? })
    }

    /// New conditions, of what `change` makes of embeddings and pooled text, and `change_time_ids` of sizes.
    fn map(
        &self,
        change: impl Fn(&Tensor) -> Result<Tensor>,
        change_time_ids: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let added = self.added.as_ref().map(|added| {
            Ok::<_, crate::Error>(AddedConditioning {
                pooled: change(&added.pooled)?,
                time_ids: change_time_ids(&added.time_ids)?,
            })
        });
        Ok(Self::new(change(&self.embeddings)?, added.transpose()?))
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
        Ok(Self::new(both(&first.embeddings, &second.embeddings)?, added))
    }

    /// The last of the batch by itself.
    ///
    /// # Errors
    /// [`crate::Error::Inference`] for an empty batch.
    pub fn last(&self) -> Result<Self> {
        let last = |tensor: &Tensor| Ok(tensor.narrow(0, tensor.dim(0)?.saturating_sub(1), 1)?.contiguous()?);
        self.map(last, last)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn zeros(rows: usize) -> Tensor {
        Tensor::zeros((rows, 2, 3), DType::F32, &Device::Cpu).expect("zeros")
    }

    #[test]
    fn a_layer_projects_a_text_once() {
        let (text, layers) = (Conditioning::of_text(zeros(2)), [LayerId::next(), LayerId::next()]);
        let again = text.clone();
        for (index, layer) in layers.into_iter().enumerate() {
            let made = (zeros(index + 1), zeros(index + 3));
            let kept = text.projections.of(layer, || Ok(made.clone())).expect("projections");
            let found = again.projections.of(layer, || panic!("projected again")).expect("projections");
            assert_eq!((kept.0.id(), kept.1.id()), (made.0.id(), made.1.id()));
            assert_eq!((found.0.id(), found.1.id()), (made.0.id(), made.1.id()));
        }
    }

    #[test]
    fn another_text_is_projected_anew() {
        let (text, layer) = (Conditioning::of_text(zeros(2)), LayerId::next());
        let made = text.projections.of(layer, || Ok((zeros(2), zeros(2)))).expect("projections");
        for other in [text.last(), Conditioning::pair(&text, &text)] {
            let other = other.expect("conditions").projections.of(layer, || Ok((zeros(1), zeros(1))));
            assert_ne!(other.expect("projections").0.id(), made.0.id());
        }
    }
}
