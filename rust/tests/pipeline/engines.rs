//! The native engine beside candle-transformers' networks.

use candle_core::{Device, Tensor};
use sd_rbee::models::Conditioning;
use sd_rbee::params::Request;
use sd_rbee::pipeline::{Engine, Reading, Sampler};

use super::{generate, load, request};
use crate::common::{invalid_field, noise};

fn values(tensor: &Tensor) -> Vec<f64> {
    let values: Vec<f32> = tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("f32 values");
    values.into_iter().map(f64::from).collect()
}

fn relative_rms(tensor: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(tensor.dims(), reference.dims());
    let (tensor, reference) = (values(tensor), values(reference));
    let error: f64 = tensor.iter().zip(&reference).map(|(a, b)| (a - b).powi(2)).sum();
    (error / reference.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

fn random(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = noise(shape.iter().product(), 11).into_iter().map(|value| value * 1.7).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

#[test]
fn the_networks_agree() {
    let (native, candle) = (load(Engine::Native), load(Engine::Candle));
    let embeddings = native.encode_prompt("a robot", Reading::default()).expect("embeddings");
    // No preset of candle's has pollen's shape, so both use the native text encoder.
    assert_eq!(values(&embeddings), values(&candle.encode_prompt("a robot", Reading::default()).expect("embeddings")));
    for timestep in [999.0, 500.0, 1.0] {
        let sample = random(&[1, 8, 16, 16]);
        let conditions = Conditioning::of_text(embeddings.clone());
        let outputs = [&native, &candle].map(|pipeline| pipeline.predict(&sample, timestep, &conditions).expect("v"));
        let error = relative_rms(&outputs[0], &outputs[1]);
        // candle's GEGLU is the tanh one; the rest is rounding.
        assert!((1e-5..1e-3).contains(&error), "timestep {timestep}: {error:e}");
    }
    let latents = random(&[1, 8, 16, 16]);
    let pixels = [&native, &candle].map(|pipeline| pipeline.vae_decode(&latents, false).expect("pixels"));
    let error = relative_rms(&pixels[0], &pixels[1]);
    assert!(error < 1e-5, "{error:e}");
}

#[test]
fn the_pictures_agree() {
    let draw = |engine| {
        let request = Request { num_inference_steps: Some(10), height: None, width: None, ..request() };
        generate(&mut load(engine), request, &Sampler::default()).images.remove(0)
    };
    let (native, candle) = (draw(Engine::Native), draw(Engine::Candle));
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let error = native.pixels.iter().zip(&candle.pixels).map(square).sum::<f64>() / native.pixels.len() as f64;
    let psnr = 10.0 * (255f64.powi(2) / error).log10();
    assert!(psnr > 50.0, "{psnr:.1} dB");
}

#[test]
fn engines_are_known_by_name() {
    for engine in [Engine::Native, Engine::Candle] {
        assert_eq!(engine.name().parse::<Engine>().expect("a name"), engine);
        assert_eq!(load(engine).engine(), engine);
    }
    assert_eq!(invalid_field("torch".parse::<Engine>()), "engine");
}
