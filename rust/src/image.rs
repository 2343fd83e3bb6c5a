//! Pictures as the engine takes and gives them.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// A picture: red, green and blue of each pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// `height * width * 3` values.
    pub pixels: Vec<u8>,
}

/// One value of each pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gray8 {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// `height * width` values.
    pub pixels: Vec<u8>,
}

impl Rgb8 {
    /// Values of -1 to 1, f32 (1, 3, height, width) on the host, as diffusers' `VaeImageProcessor` normalises them.
    ///
    /// # Errors
    /// [`Error::Inference`] for another number of pixels than the size says.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let channel = |channel: usize| self.pixels.iter().skip(channel).step_by(3);
        let values: Vec<f32> = (0..3).flat_map(channel).map(|value| f32::from(*value) / 255.0 * 2.0 - 1.0).collect();
        Ok(Tensor::from_vec(values, (1, 3, self.height, self.width), &Device::Cpu)?)
    }

    /// Rounds values of -1 to 1, f32 (1, 3, height, width), as diffusers' `VaeImageProcessor` does.
    ///
    /// # Errors
    /// [`Error::Inference`] if a value is not finite.
    pub fn from_tensor(pixels: &Tensor) -> Result<Self> {
        let (_, _, height, width) = pixels.dims4()?;
        let values = pixels.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Inference("the decoded picture has values that are not finite".into()));
        }
        let plane = height * width;
        let mut rgb = vec![0u8; 3 * plane];
        for (channel, values) in values.chunks_exact(plane.max(1)).take(3).enumerate() {
            for (pixel, value) in rgb.iter_mut().skip(channel).step_by(3).zip(values) {
                *pixel = ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
            }
        }
        Ok(Self { width, height, pixels: rgb })
    }
}
