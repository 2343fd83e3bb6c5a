//! Whole generations with the embedded model.

mod engines;
mod generation;
mod image_tasks;
mod inputs;
mod loading;
mod progress;
mod step_saving;

use sd_rbee::params::{GenerationParams, Request};
use sd_rbee::pipeline::{Engine, Generation, Pipeline, Sampler};
use sd_rbee::progress::{CancelToken, Observer};
use sd_rbee::schedulers::SchedulerKind;

use crate::common::pollen;

fn load(engine: Engine) -> Pipeline {
    Pipeline::load(&pollen(), "cpu", "f32", engine, None).expect("pollen")
}

/// A small picture in three steps.
fn request() -> Request {
    Request {
        prompt: "a robot".into(),
        height: Some(64),
        width: Some(64),
        num_inference_steps: Some(3),
        num_images_per_prompt: 1,
        seed: Some(7),
        ..Request::default()
    }
}

fn params(pipeline: &Pipeline, request: Request) -> GenerationParams {
    GenerationParams::new(request, &pipeline.model().defaults).expect("right parameters")
}

fn with_kind(kind: SchedulerKind) -> Sampler {
    Sampler { kind: Some(kind), ..Sampler::default() }
}

fn generate(pipeline: &mut Pipeline, request: Request, sampler: &Sampler) -> Generation {
    let params = params(pipeline, request);
    pipeline.generate(&params, sampler, &mut (), &CancelToken::new()).expect("a picture")
}

fn observe(
    pipeline: &mut Pipeline,
    request: Request,
    observer: &mut dyn Observer,
    cancel: &CancelToken,
) -> sd_rbee::Result<Generation> {
    let params = params(pipeline, request);
    pipeline.generate(&params, &Sampler::default(), observer, cancel)
}
