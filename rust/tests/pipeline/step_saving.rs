//! Options that compute less: what they leave alone, and that they are as exact as the rest.

use proptest::prelude::*;
use sd_rbee::Error;
use sd_rbee::image::Rgb8;
use sd_rbee::params::{GenerationParams, Request};
use sd_rbee::pipeline::{Engine, Pipeline, Sampler};
use sd_rbee::progress::{CancelToken, Observer, Phase, Step};

use super::{generate, load, observe, request};
use crate::common::invalid_field;

fn draw(pipeline: &mut Pipeline, request: Request) -> Vec<Rgb8> {
    generate(pipeline, request, &Sampler::default()).images
}

fn five_steps() -> Request {
    Request { num_inference_steps: Some(5), ..request() }
}

#[test]
fn options_that_are_off_change_nothing() {
    let mut pipeline = load(Engine::Native);
    let plain = draw(&mut pipeline, request());
    let off = Request {
        guidance_start: Some(0.0),
        guidance_end: Some(1.0),
        deepcache_interval: Some(1),
        deepcache_branch: Some(0),
        ..request()
    };
    assert!(draw(&mut pipeline, off) == plain);
}

#[test]
fn steps_outside_of_the_interval_have_no_guidance() {
    let mut pipeline = load(Engine::Native);
    let nowhere = Request { guidance_start: Some(0.41), guidance_end: Some(0.59), ..five_steps() };
    let made = generate(&mut pipeline, nowhere.clone(), &Sampler::default());
    assert_eq!(
        made.warnings,
        ["guidance_scale has no effect: none of 5 steps lies between guidance_start 0.41 and guidance_end 0.59"]
    );
    let unguided = Request { guidance_scale: Some(1.0), ..nowhere };
    let without = generate(&mut pipeline, unguided, &Sampler::default());
    assert!(made.images == without.images);
    assert_eq!(
        without.warnings,
        ["guidance_start and guidance_end have no effect at guidance_scale 1: guidance begins above 1"]
    );
    let half = draw(&mut pipeline, Request { guidance_end: Some(0.4), ..five_steps() });
    assert!(half != made.images && half != draw(&mut pipeline, five_steps()));
}

#[test]
fn each_picture_of_a_batch_has_a_cache_of_its_own() {
    let mut pipeline = load(Engine::Native);
    let request = Request { deepcache_interval: Some(3), deepcache_branch: Some(2), ..five_steps() };
    let batch = draw(&mut pipeline, Request { num_images_per_prompt: 2, ..request.clone() });
    for (seed, image) in (7..).zip(&batch) {
        assert!(draw(&mut pipeline, Request { seed: Some(seed), ..request.clone() })[0] == *image, "seed {seed}");
    }
    assert!(batch[0] != draw(&mut pipeline, five_steps())[0]);
}

#[test]
fn a_branch_that_does_nothing_is_told() {
    let mut pipeline = load(Engine::Native);
    let made = generate(&mut pipeline, Request { deepcache_branch: Some(1), ..request() }, &Sampler::default());
    assert_eq!(made.warnings, ["deepcache_branch has no effect at deepcache_interval 1"]);
}

#[test]
fn branches_are_the_models() {
    let check = |engine, interval, branch| {
        let request = Request { deepcache_interval: interval, deepcache_branch: branch, ..request() };
        GenerationParams::new(request, &load(engine).model().defaults)
    };
    // pollen has three levels of one layer.
    check(Engine::Native, Some(2), Some(5)).expect("the innermost skip connection");
    assert_eq!(invalid_field(check(Engine::Native, Some(2), Some(6))), "deepcache_branch");
    assert_eq!(invalid_field(check(Engine::Candle, Some(2), None)), "deepcache_interval");
    check(Engine::Candle, Some(1), Some(0)).expect("off");
}

struct CancelAt(usize, CancelToken);

impl Observer for CancelAt {
    fn on_step(&mut self, step: &Step) -> sd_rbee::Result<()> {
        if (step.phase, step.step) == (Phase::Denoise, self.0) {
            self.1.cancel();
        }
        Ok(())
    }
}

#[test]
fn what_was_cancelled_leaves_no_features_behind() {
    let mut pipeline = load(Engine::Native);
    let request = Request { deepcache_interval: Some(2), ..five_steps() };
    let whole = draw(&mut pipeline, request.clone());
    for last in 1..=4 {
        let cancel = CancelToken::new();
        let result = observe(&mut pipeline, request.clone(), &mut CancelAt(last, cancel.clone()), &cancel);
        assert!(matches!(result, Err(Error::Cancelled)), "step {last}");
        assert!(draw(&mut pipeline, request.clone()) == whole, "step {last}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]
    #[test]
    fn any_options_draw_one_picture_for_one_seed(
        start in 0f64..0.9, length in 0.05f64..1.0, interval in 1usize..7, branch in 0usize..6, steps in 1usize..7,
    ) {
        thread_local! {
            static PIPELINE: std::cell::RefCell<Pipeline> = std::cell::RefCell::new(load(Engine::Native));
        }
        let request = Request {
            guidance_start: Some(start),
            guidance_end: Some((start + length).min(1.0)),
            deepcache_interval: Some(interval),
            deepcache_branch: Some(branch),
            num_inference_steps: Some(steps),
            height: Some(16),
            width: Some(24),
            ..request()
        };
        PIPELINE.with_borrow_mut(|pipeline| {
            assert!(draw(pipeline, request.clone()) == draw(pipeline, request));
        });
    }
}
