//! Drawing anew only where a mask says so, after diffusers' `StableDiffusionInpaintPipeline`.

use candle_core::{Device, Shape, Tensor};

use super::Pipeline;
use super::prepare::Noise;
use crate::error::Result;
use crate::image::{Gray8, Rgb8};
use crate::models::Posterior;
use crate::params::InitialImage;
use crate::progress::CancelToken;
use crate::schedulers::Scheduler;

/// The least value of a mask that is drawn anew: half of 255, rounded up.
const DRAWN_ANEW: u8 = 128;

/// What all pictures of one generation have in common.
pub struct Canvas {
    posteriors: Posteriors,
    /// 1 where latents are drawn anew, else 0; f32 (1, 1, h, w).
    mask: Tensor,
    /// Whether the drawing begins with noise alone.
    is_strength_max: bool,
}

/// What is encoded, by what the UNet takes.
enum Posteriors {
    /// Latents alone: the picture.
    Image(Posterior),
    /// The mask and the masked picture's latents too: that one, and the picture where the drawing begins with it.
    Masked { image: Option<Posterior>, masked_image: Posterior },
}

/// What keeps one picture as it is outside of the mask.
pub enum Inpainting {
    /// The UNet knows latents alone: what it made of the rest is overwritten after each step.
    Blend {
        /// As [`Canvas::mask`].
        mask: Tensor,
        /// The picture's own.
        image_latents: Tensor,
        /// What they are under before the last step.
        noise: Tensor,
    },
    /// The UNet takes the mask and the masked picture's latents beside its sample: f32 (1, 1 + channels, h, w).
    Channels(Tensor),
}

impl Pipeline {
    /// Encodes what `initial_image` and its `mask_image` show.
    pub(super) fn canvas(
        &self,
        initial_image: &InitialImage,
        mask_image: &Gray8,
        cancel: &CancelToken,
    ) -> Result<Canvas> {
        let is_strength_max = initial_image.strength() == 1.0;
        let image = || self.image_posterior(initial_image, cancel);
        let posteriors = match self.model.inpainting_channels() {
            0 => Posteriors::Image(image()?),
            _ => Posteriors::Masked {
                image: (!is_strength_max).then(image).transpose()?,
                masked_image: self.posterior(&masked(initial_image.image(), mask_image)?, cancel)?,
            },
        };
        let mask = latent_mask(mask_image, self.model.vae.factor())?.to_device(&self.device)?;
        Ok(Canvas { posteriors, mask, is_strength_max })
    }

    /// The first latents of a picture of `shape`, and what keeps it outside of the mask. Draws in diffusers' order: the
    /// picture's latents, the noise, the masked picture's latents.
    pub(super) fn begin_inpainting(
        &self,
        canvas: &Canvas,
        shape: &Shape,
        scheduler: &dyn Scheduler,
        begin: usize,
        noise_source: &mut Noise,
    ) -> Result<(Tensor, Inpainting)> {
        let first = |image_latents: Option<&Tensor>, noise: &Tensor| match image_latents {
            Some(image_latents) if !canvas.is_strength_max => scheduler.add_noise(image_latents, noise, begin),
            _ => Ok((noise * scheduler.init_noise_sigma())?),
        };
        let mask = &canvas.mask;
        match &canvas.posteriors {
            Posteriors::Image(posterior) => {
                let image_latents = self.sample_latents(posterior, noise_source)?;
                let noise = noise_source.draw(shape)?;
                // diffusers encodes the masked picture for every UNet: its draw is taken here too.
                if posterior.std.is_some() {
                    noise_source.draw(shape)?;
                }
                let latents = first(Some(&image_latents), &noise)?;
                Ok((latents, Inpainting::Blend { mask: mask.clone(), image_latents, noise }))
            }
            Posteriors::Masked { image, masked_image } => {
                let image = image.as_ref().map(|posterior| self.sample_latents(posterior, noise_source)).transpose()?;
                let latents = first(image.as_ref(), &noise_source.draw(shape)?)?;
                let masked_image_latents = self.sample_latents(masked_image, noise_source)?;
                Ok((latents, Inpainting::Channels(Tensor::cat(&[mask, &masked_image_latents], 1)?)))
            }
        }
    }
}

impl Inpainting {
    /// What the UNet is given for the scaled `sample`, (1, channels, h, w).
    pub fn model_input(&self, sample: Tensor) -> Result<Tensor> {
        match self {
            Self::Blend { .. } => Ok(sample),
            Self::Channels(channels) => Ok(Tensor::cat(&[&sample, &channels.to_dtype(sample.dtype())?], 1)?),
        }
    }

    /// `latents` before step `next`, or behind the last one, with the picture's own outside of the mask.
    pub fn keep(&self, latents: Tensor, scheduler: &dyn Scheduler, next: usize) -> Result<Tensor> {
        match self {
            Self::Blend { image_latents, noise, .. } if next < scheduler.timesteps().len() => {
                self.blend(latents, &scheduler.add_noise(image_latents, noise, next)?)
            }
            _ => self.keep_clean(latents),
        }
    }

    /// `latents` without noise, with the picture's own outside of the mask.
    pub fn keep_clean(&self, latents: Tensor) -> Result<Tensor> {
        match self {
            Self::Blend { image_latents, .. } => self.blend(latents, image_latents),
            Self::Channels(_) => Ok(latents),
        }
    }

    fn blend(&self, latents: Tensor, image_latents: &Tensor) -> Result<Tensor> {
        let Self::Blend { mask, .. } = self else { return Ok(latents) };
        Ok((image_latents.broadcast_mul(&mask.affine(-1.0, 1.0)?)? + latents.broadcast_mul(mask)?)?)
    }
}

/// What is given and leaves nothing to draw, in words.
pub fn repaints_nothing(mask_image: &Gray8, factor: usize) -> Option<String> {
    let anew = |position: (usize, usize)| is_drawn_anew(mask_image, factor, position);
    let (height, width) = (mask_image.height / factor, mask_image.width / factor);
    let any = (0..height).any(|row| (0..width).any(|column| anew((row, column))));
    (!any).then(|| {
        let read = if factor == 1 { String::new() } else { format!(", of which one in {factor} is read each way,") };
        format!("mask_image leaves nothing to draw: none of its values{read} is {DRAWN_ANEW} or more")
    })
}

/// The mask of latents, f32 (1, 1, h, w) of 0 and 1: the nearest of pixels, as torch's `interpolate` takes it.
fn latent_mask(mask_image: &Gray8, factor: usize) -> Result<Tensor> {
    let (height, width) = (mask_image.height / factor, mask_image.width / factor);
    let values: Vec<f32> = (0..height)
        .flat_map(|row| (0..width).map(move |column| (row, column)))
        .map(|position| if is_drawn_anew(mask_image, factor, position) { 1.0 } else { 0.0 })
        .collect();
    Ok(Tensor::from_vec(values, (1, 1, height, width), &Device::Cpu)?)
}

fn is_drawn_anew(mask_image: &Gray8, factor: usize, (row, column): (usize, usize)) -> bool {
    mask_image.pixels[row * factor * mask_image.width + column * factor] >= DRAWN_ANEW
}

/// The picture with 0, which is grey, where it is drawn anew; f32 (1, 3, height, width).
fn masked(image: &Rgb8, mask_image: &Gray8) -> Result<Tensor> {
    let kept: Vec<f32> = mask_image.pixels.iter().map(|value| if *value < DRAWN_ANEW { 1.0 } else { 0.0 }).collect();
    let kept = Tensor::from_vec(kept, (1, 1, image.height, image.width), &Device::Cpu)?;
    Ok(image.to_tensor()?.broadcast_mul(&kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(width: usize, pixels: &[u8]) -> Gray8 {
        Gray8 { width, height: pixels.len() / width, pixels: pixels.to_vec() }
    }

    #[test]
    fn a_latent_position_takes_its_first_pixels_value() {
        let mask_image = mask(4, &[0, 255, 255, 255, 255, 255, 255, 255, 127, 0, 128, 0, 255, 0, 0, 0]);
        let values = latent_mask(&mask_image, 2).expect("a mask");
        assert_eq!(values.dims(), [1, 1, 2, 2]);
        assert_eq!(
            values.flatten_all().and_then(|values| values.to_vec1::<f32>()).expect("values"),
            [0.0, 1.0, 0.0, 1.0]
        );
    }

    #[test]
    fn a_mask_whose_read_values_are_low_leaves_nothing_to_draw() {
        assert!(repaints_nothing(&mask(2, &[127, 255, 255, 255]), 2).is_some());
        assert!(repaints_nothing(&mask(2, &[127, 255, 255, 255]), 1).is_none());
        assert!(repaints_nothing(&mask(2, &[128, 0, 0, 0]), 2).is_none());
    }

    #[test]
    fn the_masked_picture_is_grey_where_it_is_drawn_anew() {
        let image = Rgb8 { width: 2, height: 1, pixels: vec![255, 0, 51, 255, 0, 51] };
        let values =
            masked(&image, &mask(2, &[127, 128])).and_then(|values| Ok(values.flatten_all()?.to_vec1::<f32>()?));
        assert_eq!(values.expect("values"), [1.0, 0.0, -1.0, 0.0, 0.2f32.mul_add(2.0, -1.0), 0.0]);
    }
}
