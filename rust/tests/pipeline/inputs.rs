//! The parts of a pipeline take the shapes that the model has, and refuse others by name.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use sd_rbee::Error;
use sd_rbee::models::Conditioning;
use sd_rbee::pipeline::{Engine, Pipeline, Reading};

use super::load;
use crate::common::{invalid_field, noise};

fn random(shape: &[usize]) -> Tensor {
    Tensor::from_vec(noise(shape.iter().product(), 3), shape, &Device::Cpu).expect("a tensor")
}

fn predict(pipeline: &Pipeline, sample: &[usize], embeddings: &[usize]) -> sd_rbee::Result<Tensor> {
    pipeline.predict(&random(sample), 500.0, &Conditioning::of_text(random(embeddings)))
}

#[test]
fn what_fits_is_computed() {
    let pipeline = load(Engine::Native);
    for (sample, embeddings) in
        [([1, 8, 16, 16], [1, 32, 128]), ([2, 8, 7, 5], [2, 1, 128]), ([1, 8, 1, 1], [1, 3, 128])]
    {
        assert_eq!(predict(&pipeline, &sample, &embeddings).expect("a prediction").dims(), sample);
    }
    assert_eq!(pipeline.vae_decode(&random(&[2, 8, 3, 1]), false).expect("pixels").dims(), [2, 3, 24, 8]);
    let posterior = pipeline.vae_encode(&random(&[2, 3, 24, 8]), false).expect("latents");
    let std = posterior.std.expect("a deviation");
    assert_eq!((posterior.mean.dims(), std.dims()), (&[2, 8, 3, 1][..], &[2, 8, 3, 1][..]));
    assert_eq!(pipeline.encode_prompt("a robot", Reading::default()).expect("embeddings").dims(), [1, 32, 128]);
}

#[test]
fn what_does_not_fit_is_named() {
    for engine in [Engine::Native, Engine::Candle] {
        let pipeline = load(engine);
        let embeddings = [1, 32, 128];
        for sample in
            [&[1, 4, 16, 16][..], &[1, 8, 0, 16], &[1, 8, 16, 0], &[0, 8, 16, 16], &[8, 16, 16], &[], &[1, 8, 1, 4097]]
        {
            assert_eq!(invalid_field(predict(&pipeline, sample, &embeddings)), "sample", "{sample:?}");
        }
        for embeddings in [&[1, 32, 64][..], &[2, 32, 128], &[1, 0, 128], &[32, 128], &[1, 1, 32, 128]] {
            assert_eq!(invalid_field(predict(&pipeline, &[1, 8, 16, 16], embeddings)), "embeddings", "{embeddings:?}");
        }
        for timestep in [f64::NAN, f64::INFINITY] {
            let result =
                pipeline.predict(&random(&[1, 8, 4, 4]), timestep, &Conditioning::of_text(random(&embeddings)));
            assert_eq!(invalid_field(result), "timestep");
        }
        for latents in [&[1, 4, 8, 8][..], &[1, 8, 0, 8], &[1, 8, 8, 0], &[0, 8, 8, 8], &[8, 8, 8], &[1, 8, 1, 513]] {
            assert_eq!(invalid_field(pipeline.vae_decode(&random(latents), false)), "latents", "{latents:?}");
        }
        for pixels in [
            &[1, 4, 16, 16][..],
            &[1, 3, 12, 16],
            &[1, 3, 16, 17],
            &[1, 3, 0, 16],
            &[0, 3, 16, 16],
            &[3, 16, 16],
            &[1, 3, 8, 4104],
        ] {
            assert_eq!(invalid_field(pipeline.vae_encode(&random(pixels), false)), "pixels", "{pixels:?}");
        }
    }
}

#[test]
fn any_dtype_is_taken_and_f32_returned() {
    let pipeline = load(Engine::Native);
    let latents = random(&[1, 8, 2, 2]).to_dtype(DType::F16).expect("f16");
    assert_eq!(pipeline.vae_decode(&latents, false).expect("pixels").dtype(), DType::F32);
}

/// Any dimensions, and more often such as nearly fit.
fn shape(nearly: [usize; 4]) -> impl Strategy<Value = Vec<usize>> {
    let near = nearly.map(|size| prop_oneof![3 => Just(size), 1 => 0usize..10]);
    prop_oneof![3 => near.prop_map(|shape| shape.to_vec()), 1 => prop::collection::vec(0usize..10, 0..6)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_shape_is_computed_or_refused(
        sample in shape([1, 8, 4, 5]), embeddings in shape([1, 3, 128, 1]), pixels in shape([2, 3, 8, 16]),
    ) {
        thread_local! {
            static PIPELINE: Pipeline = load(Engine::Native);
        }
        PIPELINE.with(|pipeline| {
            let fits = |fields: &[&str], result: sd_rbee::Result<Tensor>| match result {
                Ok(tensor) => tensor.elem_count() > 0,
                Err(Error::InvalidParams { field, .. }) => fields.contains(&field),
                Err(_) => false,
            };
            let embeddings = &embeddings[..embeddings.len().min(3)];
            assert!(fits(&["sample", "embeddings"], predict(pipeline, &sample, embeddings)));
            assert!(fits(&["latents"], pipeline.vae_decode(&random(&sample), false)));
            assert!(fits(&["pixels"], pipeline.vae_encode(&random(&pixels), false).map(|posterior| posterior.mean)));
        });
    }
}
