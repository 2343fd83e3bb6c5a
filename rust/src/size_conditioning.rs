//! The sizes that SDXL is told beside its prompt (Podell et al. 2023, sections 2.2 and 2.3).

use crate::error::{Error, Result};

/// Largest side and crop offset in pixels.
pub const MAX_CONDITIONED_SIDE: usize = 1 << 16;

/// Height and width, or top and left, in pixels.
pub type Pair = (usize, usize);

/// The sizes of a request, named as in diffusers' `StableDiffusionXLPipeline`; what is none is the picture's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeConditioning {
    /// Height and width that the picture pretends to have had before it was resized.
    pub original_size: Option<Pair>,
    /// Top and left that it pretends to have been cropped at; none is (0, 0), which is well centred.
    pub crops_coords_top_left: Option<Pair>,
    /// Height and width that it pretends to be wanted in.
    pub target_size: Option<Pair>,
    /// `original_size` of what is drawn away from.
    pub negative_original_size: Option<Pair>,
    /// `crops_coords_top_left` of what is drawn away from.
    pub negative_crops_coords_top_left: Option<Pair>,
    /// `target_size` of what is drawn away from.
    pub negative_target_size: Option<Pair>,
}

/// diffusers' `time_ids`: original height and width, top and left, target height and width.
pub type TimeIds = [f32; 6];

impl SizeConditioning {
    /// Refuses numbers that no picture has.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] that names the field.
    pub fn check(&self) -> Result<()> {
        for (field, pair, least) in [
            ("original_size", self.original_size, 1),
            ("crops_coords_top_left", self.crops_coords_top_left, 0),
            ("target_size", self.target_size, 1),
            ("negative_original_size", self.negative_original_size, 1),
            ("negative_crops_coords_top_left", self.negative_crops_coords_top_left, 0),
            ("negative_target_size", self.negative_target_size, 1),
        ] {
            let fits = |side| (least..=MAX_CONDITIONED_SIDE).contains(&side);
            if let Some((first, second)) = pair.filter(|pair| !fits(pair.0) || !fits(pair.1)) {
                let allowed = format!("two whole numbers of {least} to {MAX_CONDITIONED_SIDE}");
                return Err(Error::invalid(field, format_args!("({first}, {second})"), allowed));
            }
        }
        Ok(())
    }

    /// Whether any of them was given.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// What the network is told of a picture of `size`: with the prompt, and with the negative prompt.
    ///
    /// Without both negative sizes the negative prompt has the prompt's, as in diffusers.
    pub fn time_ids(&self, size: Pair) -> (TimeIds, TimeIds) {
        let positive = time_ids(
            self.original_size.unwrap_or(size),
            self.crops_coords_top_left.unwrap_or_default(),
            self.target_size.unwrap_or(size),
        );
        let negative = match (self.negative_original_size, self.negative_target_size) {
            (Some(original), Some(target)) => {
                time_ids(original, self.negative_crops_coords_top_left.unwrap_or_default(), target)
            }
            _ => positive,
        };
        (positive, negative)
    }

    /// [`SizeConditioning::time_ids`] where an image of `size` is drawn over: each negative size that is given counts, and
    /// the negative crop never does, as in `_get_add_time_ids` of diffusers' `StableDiffusionXLImg2ImgPipeline`.
    pub fn time_ids_over_image(&self, size: Pair) -> (TimeIds, TimeIds) {
        let original = self.original_size.unwrap_or(size);
        let target = self.target_size.unwrap_or(size);
        let crop = self.crops_coords_top_left.unwrap_or_default();
        let negative = time_ids(
            self.negative_original_size.unwrap_or(original),
            crop,
            self.negative_target_size.unwrap_or(target),
        );
        (time_ids(original, crop, target), negative)
    }
}

fn time_ids(original: Pair, crop: Pair, target: Pair) -> TimeIds {
    [original.0, original.1, crop.0, crop.1, target.0, target.1].map(|side| side as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_own_size_stands_for_what_is_left_out() {
        let own = [512.0, 768.0, 0.0, 0.0, 512.0, 768.0];
        assert_eq!(SizeConditioning::default().time_ids((512, 768)), (own, own));
    }

    #[test]
    fn the_negative_sizes_count_only_together() {
        let sizes = SizeConditioning {
            original_size: Some((1024, 1024)),
            crops_coords_top_left: Some((8, 16)),
            negative_original_size: Some((64, 65)),
            negative_crops_coords_top_left: Some((1, 2)),
            ..SizeConditioning::default()
        };
        let (positive, negative) = sizes.time_ids((512, 512));
        assert_eq!(positive, [1024.0, 1024.0, 8.0, 16.0, 512.0, 512.0]);
        assert_eq!(negative, positive);
        let both = SizeConditioning { negative_target_size: Some((32, 33)), ..sizes };
        assert_eq!(both.time_ids((512, 512)).1, [64.0, 65.0, 1.0, 2.0, 32.0, 33.0]);
    }

    #[test]
    fn over_an_image_each_negative_size_counts_and_its_crop_does_not() {
        let sizes = SizeConditioning {
            crops_coords_top_left: Some((8, 16)),
            target_size: Some((100, 101)),
            negative_original_size: Some((64, 65)),
            negative_crops_coords_top_left: Some((1, 2)),
            ..SizeConditioning::default()
        };
        let (positive, negative) = sizes.time_ids_over_image((512, 513));
        assert_eq!(positive, [512.0, 513.0, 8.0, 16.0, 100.0, 101.0]);
        assert_eq!(negative, [64.0, 65.0, 8.0, 16.0, 100.0, 101.0]);
    }

    #[test]
    fn a_size_that_no_picture_has_is_named() {
        let field = |sizes: SizeConditioning| match sizes.check() {
            Err(Error::InvalidParams { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let none = SizeConditioning::default();
        assert_eq!(field(SizeConditioning { original_size: Some((0, 5)), ..none }), "original_size");
        assert_eq!(field(SizeConditioning { target_size: Some((5, 1 << 17)), ..none }), "target_size");
        assert!(SizeConditioning { crops_coords_top_left: Some((0, 0)), ..none }.check().is_ok());
        assert!(none.check().is_ok() && !none.is_given());
    }
}
