//! Schedulers by themselves; the numbers are compared with diffusers' from Python.

mod choices;
mod configs;
mod runs;

use candle_core::{Device, Tensor};
use sd_rbee::Error;
use sd_rbee::schedulers::{self, Scheduler, SchedulerConfig, SchedulerKind, SchedulerOptions};
use serde_json::{Value, json};

/// Stable Diffusion 1's, of no class.
fn base() -> Value {
    json!({
        "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "clip_sample": false, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1
    })
}

/// `base` with `changes`.
fn changed(changes: Value) -> SchedulerConfig {
    let (mut config, Value::Object(changes)) = (base(), changes) else { panic!("no object") };
    for (key, value) in changes {
        config[key] = value;
    }
    SchedulerConfig::from_json(&config).expect("a right configuration")
}

fn create(kind: SchedulerKind, config: &SchedulerConfig, steps: usize) -> Box<dyn Scheduler> {
    schedulers::create(kind, config, steps, &SchedulerOptions::default()).expect("a schedule")
}

fn refusal(kind: SchedulerKind, config: &SchedulerConfig, steps: usize, options: SchedulerOptions) -> Error {
    match schedulers::create(kind, config, steps, &options) {
        Ok(_) => panic!("{kind} accepts {options:?}"),
        Err(error) => error,
    }
}

/// A sample of 2 x 2 x 2 values, another one for each seed.
fn sample(seed: usize) -> Tensor {
    let values = (0..8).map(|i| ((i * 37 + seed * 101 + 11) % 53) as f32 / 26.0 - 1.0).collect();
    Tensor::from_vec(values, (1, 2, 2, 2), &Device::Cpu).expect("a tensor")
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 values")
}

/// The samples after each step from `begin` on, from a noised sample, and how often noise was drawn.
fn run(scheduler: &mut dyn Scheduler, begin: usize) -> (Vec<Vec<f32>>, usize) {
    let mut current = scheduler.add_noise(&sample(0), &sample(1), begin).expect("noise");
    let mut draws = 0;
    let mut samples = Vec::new();
    for index in begin..scheduler.timesteps().len() {
        let mut noise = |_: &candle_core::Shape| {
            draws += 1;
            Ok(sample(1000 + draws))
        };
        let stepped = scheduler.step(&sample(2 + index), index, &current, &mut noise).expect("a step");
        current = stepped.prev_sample;
        samples.push(values(&current));
    }
    (samples, draws)
}
