//! What a prediction is conditioned on.

use pyo3::prelude::*;

use super::buffers::tensor;
use crate::error::Error;
use crate::models::{self, AddedConditioning};

/// Text embeddings, and what SDXL adds to them, which keep what a network makes of them from call to call.
#[pyclass(frozen, module = "sd_rbee._native")]
pub struct Conditioning(models::Conditioning);

#[pymethods]
impl Conditioning {
    #[new]
    #[pyo3(signature = (embeddings, pooled = None, time_ids = None))]
    fn new(
        embeddings: &Bound<'_, PyAny>,
        pooled: Option<&Bound<'_, PyAny>>,
        time_ids: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let embeddings = tensor("embeddings", embeddings, 3)?;
        let added = match (pooled, time_ids) {
            (None, None) => None,
            (Some(pooled), Some(time_ids)) => Some(AddedConditioning {
                pooled: tensor("pooled", pooled, 2)?,
                time_ids: tensor("time_ids", time_ids, 2)?,
            }),
            (None, Some(_)) => {
                return Err(Error::invalid("pooled", "none", "both pooled and time_ids, or neither").into());
            }
            (Some(_), None) => {
                return Err(Error::invalid("time_ids", "none", "both pooled and time_ids, or neither").into());
            }
        };
        Ok(Self(models::Conditioning::new(embeddings, added)))
    }
}

impl Conditioning {
    /// `embeddings` if they are conditions already, which have all that is added; else new ones.
    pub fn of(
        embeddings: &Bound<'_, PyAny>,
        pooled: Option<&Bound<'_, PyAny>>,
        time_ids: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<models::Conditioning> {
        let Ok(conditions) = embeddings.cast::<Self>() else { return Ok(Self::new(embeddings, pooled, time_ids)?.0) };
        for (field, given) in [("pooled", pooled), ("time_ids", time_ids)] {
            if given.is_some() {
                return Err(Error::invalid(field, "a value", "none beside a Conditioning, which has it").into());
            }
        }
        Ok(conditions.get().0.clone())
    }
}
