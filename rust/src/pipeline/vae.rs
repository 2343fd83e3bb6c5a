//! An autoencoder in memory, in a dtype that holds its values.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::allocator;
use crate::device::{self, Residency};
use crate::error::Result;
use crate::models::{Posterior, VaeDecoder, VaeEncoder};
use crate::progress::CancelToken;

/// A half of one that is in memory.
pub(super) struct Loaded<Network: ?Sized> {
    pub network: Arc<Network>,
    pub residency: Residency,
}

/// Where the halves of an autoencoder come from, in any dtype and as often as they are wanted.
pub(super) trait VaeSource: Send + Sync {
    /// The half that makes latents.
    fn encoder(&self, dtype: DType) -> Result<Loaded<dyn VaeEncoder>>;
    /// The half that makes pixels.
    fn decoder(&self, dtype: DType) -> Result<Loaded<dyn VaeDecoder>>;
}

/// An autoencoder whose encoder is loaded when the first picture is encoded, since most pictures begin with noise, and
/// which is loaded again in f32 when a narrower dtype overflows.
///
/// Published VAEs do so in f16, where diffusers' pictures turn black unless `force_upcast` says it beforehand; here the
/// values themselves tell.
pub(super) struct VaeStage {
    source: Box<dyn VaeSource>,
    scaling_factor: f64,
    device: Device,
    state: Mutex<State>,
}

struct State {
    encoder: Option<Loaded<dyn VaeEncoder>>,
    decoder: Option<Loaded<dyn VaeDecoder>>,
    dtype: DType,
    /// What has happened since it was last asked, in words.
    told: Option<String>,
}

/// A half of it: where it is kept, and how it comes there.
struct Half<Network: ?Sized> {
    place: fn(&mut State) -> &mut Option<Loaded<Network>>,
    load: fn(&dyn VaeSource, DType) -> Result<Loaded<Network>>,
}

const ENCODER: Half<dyn VaeEncoder> = Half { place: |state| &mut state.encoder, load: |vae, dtype| vae.encoder(dtype) };
const DECODER: Half<dyn VaeDecoder> = Half { place: |state| &mut state.decoder, load: |vae, dtype| vae.decoder(dtype) };

impl VaeStage {
    /// Of `source` in `dtype`; latents are divided by `scaling_factor`.
    pub fn new(source: Box<dyn VaeSource>, dtype: DType, scaling_factor: f64, device: &Device) -> Result<Self> {
        let decoder = Some(source.decoder(dtype)?);
        let state = Mutex::new(State { encoder: None, decoder, dtype, told: None });
        Ok(Self { source, scaling_factor, device: device.clone(), state })
    }

    /// The pipeline's latents are the network's times this.
    pub fn scaling_factor(&self) -> f64 {
        self.scaling_factor
    }

    /// Where the bytes are of what is in memory.
    pub fn residency(&self) -> Option<Residency> {
        let state = self.state();
        let encoder = state.encoder.as_ref().map(|half| &half.residency);
        let decoder = state.decoder.as_ref().map(|half| &half.residency);
        let halves = [encoder, decoder].into_iter().flatten().cloned();
        halves.reduce(|one, other| Residency {
            tensors: one.tensors + other.tensors,
            bytes: one.bytes + other.bytes,
            ..other
        })
    }

    /// That it was loaded again, if it was since the last call.
    pub fn take_warning(&self) -> Option<String> {
        self.state().told.take()
    }

    /// Pixels of the network's own, unscaled latents (batch, channels, h, w), in tiles where that is asked.
    pub fn decode(&self, latents: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Tensor> {
        let decode = |network: &(dyn VaeDecoder + 'static), latents: &Tensor| match tiled {
            true => network.decode_tiled(latents, cancel),
            false => network.decode(latents, cancel),
        };
        self.run(&DECODER, latents, &decode, &is_finite)
    }

    /// The posterior over unscaled latents of pixels (batch, 3, height, width), in tiles where that is asked.
    pub fn encode(&self, pixels: &Tensor, tiled: bool, cancel: &CancelToken) -> Result<Posterior> {
        let encode = |network: &(dyn VaeEncoder + 'static), pixels: &Tensor| match tiled {
            true => network.encode_tiled(pixels, cancel),
            false => network.encode(pixels, cancel),
        };
        let holds = |posterior: &Posterior| {
            Ok(is_finite(&posterior.mean)? && posterior.std.as_ref().map_or(Ok(true), is_finite)?)
        };
        self.run(&ENCODER, pixels, &encode, &holds)
    }

    fn run<Network: ?Sized, T>(
        &self,
        half: &Half<Network>,
        input: &Tensor,
        compute: &dyn Fn(&Network, &Tensor) -> Result<T>,
        is_finite_output: &dyn Fn(&T) -> Result<bool>,
    ) -> Result<T> {
        let (network, dtype) = self.loaded(half)?;
        let output = compute(&network, &device::bring(input, &self.device, dtype)?)?;
        if dtype == DType::F32 || is_finite_output(&output)? || !is_finite(input)? {
            return Ok(output);
        }
        drop((network, output));
        self.widen();
        let (network, dtype) = self.loaded(half)?;
        compute(&network, &device::bring(input, &self.device, dtype)?)
    }

    /// Drops both halves, to be loaded again in f32.
    fn widen(&self) {
        let mut state = self.state();
        if state.dtype == DType::F32 {
            return;
        }
        if let Some(Residency { component, dtype, .. }) = state.decoder.as_ref().map(|half| &half.residency) {
            state.told = Some(format!(
                "dtype {dtype} has no effect on the {component}: its values overflow, so it was loaded again in f32"
            ));
        }
        (state.encoder, state.decoder, state.dtype) = (None, None, DType::F32);
    }

    fn loaded<Network: ?Sized>(&self, half: &Half<Network>) -> Result<(Arc<Network>, DType)> {
        let mut state = self.state();
        let dtype = state.dtype;
        let place = (half.place)(&mut state);
        if let Some(loaded) = place {
            return Ok((loaded.network.clone(), dtype));
        }
        let loaded = (half.load)(self.source.as_ref(), dtype)?;
        let network = place.insert(loaded).network.clone();
        allocator::release();
        Ok((network, dtype))
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
