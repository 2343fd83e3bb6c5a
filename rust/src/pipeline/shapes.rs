//! What the parts of a pipeline take, checked before they run.

use candle_core::Tensor;

use super::Pipeline;
use crate::error::{Error, Result};
use crate::models::{AddedConditioning, Conditioning, TextTimeConfig};
use crate::params::MAX_SIDE;

impl Pipeline {
    pub(super) fn check_predict(&self, sample: &Tensor, timestep: f64, conditions: &Conditioning) -> Result<()> {
        let unet = &self.model.unet;
        let batch = match *sample.dims() {
            [batch, channels, height, width]
                if batch > 0 && channels == unet.in_channels && is_side(height) && is_side(width) =>
            {
                batch
            }
            _ => {
                let allowed = format!("(batch, {}, height, width), sides of 1 to {MAX_SIDE}", unet.in_channels);
                return Err(misshapen("sample", sample, allowed));
            }
        };
        if !timestep.is_finite() {
            return Err(Error::invalid("timestep", timestep, "a finite number"));
        }
        let embeddings = &conditions.embeddings;
        match *embeddings.dims() {
            [of, tokens, width] if of == batch && tokens > 0 && width == unet.cross_attention_dim => {
                self.check_added(batch, conditions.added.as_ref())
            }
            _ => {
                let allowed = format!("({batch}, tokens, {})", unet.cross_attention_dim);
                Err(misshapen("embeddings", embeddings, allowed))
            }
        }
    }

    fn check_added(&self, batch: usize, added: Option<&AddedConditioning>) -> Result<()> {
        let (config, added) = match (self.model.unet.addition_embed, added) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                return Err(Error::invalid("pooled", "a tensor", "none: this UNet takes no pooled text"));
            }
            (Some(config), None) => {
                let allowed = format!("(batch, {}), with time_ids", config.pooled_width());
                return Err(Error::invalid("pooled", "none", allowed));
            }
            (Some(config), Some(added)) => (config, added),
        };
        let expected =
            [("pooled", &added.pooled, config.pooled_width()), ("time_ids", &added.time_ids, TextTimeConfig::SIZES)];
        for (field, tensor, width) in expected {
            if tensor.dims() != [batch, width] {
                return Err(misshapen(field, tensor, format!("({batch}, {width})")));
            }
        }
        Ok(())
    }

    pub(super) fn check_latents(&self, latents: &Tensor) -> Result<()> {
        let (channels, largest) = (self.model.vae.latent_channels(), MAX_SIDE / self.model.vae.factor());
        match *latents.dims() {
            [batch, of, height, width]
                if batch > 0 && of == channels && (1..=largest).contains(&height) && (1..=largest).contains(&width) =>
            {
                Ok(())
            }
            _ => Err(misshapen(
                "latents",
                latents,
                format!("(batch, {channels}, height, width), sides of 1 to {largest}"),
            )),
        }
    }

    pub(super) fn check_pixels(&self, pixels: &Tensor) -> Result<()> {
        let (channels, factor) = (self.model.vae.in_channels(), self.model.vae.factor());
        let fits = |side: usize| is_side(side) && side.is_multiple_of(factor);
        match *pixels.dims() {
            [batch, of, height, width] if batch > 0 && of == channels && fits(height) && fits(width) => Ok(()),
            _ => {
                let allowed = format!(
                    "(batch, {channels}, height, width), sides that are multiples of {factor} up to {MAX_SIDE}"
                );
                Err(misshapen("pixels", pixels, allowed))
            }
        }
    }
}

fn is_side(side: usize) -> bool {
    (1..=MAX_SIDE).contains(&side)
}

fn misshapen(field: &'static str, given: &Tensor, allowed: String) -> Error {
    Error::invalid(field, format_args!("shape {:?}", given.dims()), allowed)
}
