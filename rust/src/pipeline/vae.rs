//! An autoencoder in memory, in a dtype that holds its values.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::allocator;
use crate::device::{self, Residency};
use crate::error::Result;
use crate::models::{Autoencoder, Posterior};
use crate::progress::CancelToken;

/// One that is in memory.
#[derive(Clone)]
pub(super) struct Loaded {
    pub network: Arc<dyn Autoencoder>,
    pub residency: Residency,
}

type Load = Box<dyn Fn(DType) -> Result<Loaded> + Send + Sync>;

/// An autoencoder that is loaded again in f32 when a narrower dtype overflows.
///
/// Published VAEs do so in f16, where diffusers' pictures turn black unless `force_upcast` says it beforehand; here the
/// values themselves tell.
pub(super) struct VaeStage {
    load: Load,
    scaling_factor: f64,
    device: Device,
    state: Mutex<State>,
}

struct State {
    loaded: Loaded,
    dtype: DType,
    /// What has happened since it was last asked, in words.
    told: Option<String>,
}

impl VaeStage {
    /// Loads by `load` in `dtype`; latents are divided by `scaling_factor`.
    pub fn new(load: Load, dtype: DType, scaling_factor: f64, device: &Device) -> Result<Self> {
        let state = Mutex::new(State { loaded: load(dtype)?, dtype, told: None });
        Ok(Self { load, scaling_factor, device: device.clone(), state })
    }

    /// The pipeline's latents are the network's times this.
    pub fn scaling_factor(&self) -> f64 {
        self.scaling_factor
    }

    /// Where its bytes are.
    pub fn residency(&self) -> Residency {
        self.state().loaded.residency.clone()
    }

    /// That it was loaded again, if it was since the last call.
    pub fn take_warning(&self) -> Option<String> {
        self.state().told.take()
    }

    /// Pixels of the network's own, unscaled latents (batch, channels, h, w), in tiles where that is asked.
    pub fn decode(&self, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Tensor> {
        let decode = |network: &dyn Autoencoder, latents: &Tensor| match tiled {
            true => network.decode_tiled(latents, cancel),
            false => network.decode(latents, cancel),
        };
        self.run(latents, &decode, &is_finite)
    }

    /// The posterior over unscaled latents of pixels (batch, 3, height, width), in tiles where that is asked.
    pub fn encode(&self, pixels: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Posterior> {
        let encode = |network: &dyn Autoencoder, pixels: &Tensor| match tiled {
            true => network.encode_tiled(pixels, cancel),
            false => network.encode(pixels, cancel),
        };
        let holds = |posterior: &Posterior| {
            Ok(is_finite(&posterior.mean)? && posterior.std.as_ref().map_or(Ok(true), is_finite)?)
        };
        self.run(pixels, &encode, &holds)
    }

    fn run<T>(
        &self,
        input: &Tensor,
        network: &dyn Fn(&dyn Autoencoder, &Tensor) -> Result<T>,
        is_finite_output: &dyn Fn(&T) -> Result<bool>,
    ) -> Result<T> {
        let (loaded, dtype) = self.loaded();
        let output = network(loaded.network.as_ref(), &device::bring(input, &self.device, dtype)?)?;
        if dtype == DType::F32 || is_finite_output(&output)? || !is_finite(input)? {
            return Ok(output);
        }
        drop((loaded, output));
        let wide = self.widen(dtype)?;
        network(wide.network.as_ref(), &device::bring(input, &self.device, DType::F32)?)
    }

    fn widen(&self, narrow: DType) -> Result<Loaded> {
        let wide = (self.load)(DType::F32)?;
        let mut state = self.state();
        let (component, dtype) = (wide.residency.component, device::dtype_name(narrow));
        state.told = Some(format!(
            "dtype {dtype} has no effect on the {component}: its values overflow, so it was loaded again in f32"
        ));
        (state.loaded, state.dtype) = (wide.clone(), DType::F32);
        drop(state);
        allocator::release();
        Ok(wide)
    }

    fn loaded(&self) -> (Loaded, DType) {
        let state = self.state();
        (state.loaded.clone(), state.dtype)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether no value is infinite or not a number: only of such is a product with zero not zero.
pub(super) fn is_finite(tensor: &Tensor) -> Result<bool> {
    let sum = (tensor * 0.0)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok(sum == 0.0)
}
