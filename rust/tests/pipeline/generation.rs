//! Pictures: one seed, one picture.

use rayon::ThreadPoolBuilder;
use sd_rbee::Error;
use sd_rbee::params::Request;
use sd_rbee::pipeline::{Engine, Sampler};
use sd_rbee::progress::{CancelToken, Phase};
use sd_rbee::schedulers::{SchedulerKind, SchedulerOptions};

use super::{generate, load, params, request, with_kind};
use crate::common::invalid_field;

#[test]
fn a_seed_in_a_batch_draws_what_it_draws_alone() {
    let mut pipeline = load(Engine::Native);
    let noisy = SchedulerOptions { eta: 1.0, ..SchedulerOptions::default() };
    let ddim = Sampler { kind: Some(SchedulerKind::Ddim), options: noisy };
    // The least that pndm takes.
    let request = || Request { num_inference_steps: Some(4), ..request() };
    for sampler in SchedulerKind::ALL.map(with_kind).into_iter().chain([ddim]) {
        let batch = generate(&mut pipeline, Request { num_images_per_prompt: 3, ..request() }, &sampler);
        assert_eq!(batch.seeds, [7, 8, 9]);
        for (seed, image) in batch.seeds.iter().zip(&batch.images) {
            let alone = generate(&mut pipeline, Request { seed: Some(*seed), ..request() }, &sampler);
            assert!(alone.images[0] == *image, "seed {seed} of {:?}", batch.scheduler);
        }
        assert!(batch.images[0] != batch.images[1] && batch.images[1] != batch.images[2]);
    }
}

#[test]
fn a_seed_draws_the_same_on_any_number_of_threads() {
    let draw = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let request = Request { height: Some(72), width: Some(104), ..request() };
        pool.install(|| generate(&mut load(Engine::Native), request, &Sampler::default()).images)
    };
    let alone = draw(1);
    for threads in [2, 3, 5] {
        assert!(draw(threads) == alone, "{threads} threads draw another picture than one");
    }
}

#[test]
fn pictures_have_the_size_that_was_asked_for() {
    let mut pipeline = load(Engine::Native);
    for (width, height) in [(8, 8), (8, 136), (120, 64)] {
        let request = Request { width: Some(width), height: Some(height), ..request() };
        let made = generate(&mut pipeline, request, &Sampler::default());
        let image = &made.images[0];
        assert_eq!((image.width, image.height, image.pixels.len()), (width, height, width * height * 3));
    }
    let made = generate(&mut pipeline, Request { height: None, width: None, ..request() }, &Sampler::default());
    assert_eq!((made.images[0].width, made.images[0].height), (128, 128));
}

#[test]
fn a_seed_that_is_not_given_is_drawn_and_told() {
    let mut pipeline = load(Engine::Native);
    let made =
        generate(&mut pipeline, Request { seed: None, num_images_per_prompt: 2, ..request() }, &Sampler::default());
    assert_eq!(made.seeds[1], made.seeds[0] + 1);
    let again = generate(&mut pipeline, Request { seed: Some(made.seeds[0]), ..request() }, &Sampler::default());
    assert!(again.images[0] == made.images[0]);
    generate(&mut pipeline, Request { seed: Some(u64::MAX), ..request() }, &Sampler::default());
}

#[test]
fn the_prompt_the_negative_prompt_and_the_guidance_count() {
    let mut pipeline = load(Engine::Native);
    let mut draw = |request| generate(&mut pipeline, request, &Sampler::default());
    let base = draw(request());
    assert!(base.warnings.is_empty() && base.truncations.is_empty());
    for other in [
        Request { prompt: "a cat".into(), ..request() },
        Request { negative_prompt: Some("red".into()), ..request() },
        Request { guidance_scale: Some(5.0), ..request() },
        Request { guidance_scale: Some(0.0), ..request() },
    ] {
        assert!(draw(other.clone()).images != base.images, "{other:?}");
    }
    let empty = draw(Request { negative_prompt: Some(String::new()), ..request() });
    assert!(empty.images == base.images);
    let unguided = Request { guidance_scale: Some(1.0), ..request() };
    let in_vain = draw(Request { negative_prompt: Some("red".into()), ..unguided.clone() });
    assert_eq!(in_vain.warnings.len(), 1);
    assert!(in_vain.warnings[0].starts_with("negative_prompt has no effect at guidance_scale 1"));
    assert!(in_vain.images == draw(unguided).images);
}

#[test]
fn prompts_that_were_cut_are_told_by_name() {
    let mut pipeline = load(Engine::Native);
    let long = "robot ".repeat(40);
    let request = Request { prompt: long.clone(), negative_prompt: Some(long.clone()), ..request() };
    let made = generate(&mut pipeline, request, &Sampler::default());
    assert_eq!(made.truncations.iter().map(|cut| cut.field).collect::<Vec<_>>(), ["prompt", "negative_prompt"]);
    assert!(made.truncations.iter().all(|cut| long.ends_with(&cut.truncation.dropped_text)));
}

#[test]
fn the_time_of_each_phase_is_told() {
    let made = generate(&mut load(Engine::Native), request(), &Sampler::default());
    assert_eq!(made.timings.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), Phase::ALL);
    assert!(made.timings.iter().map(|(_, time)| *time).sum::<std::time::Duration>() <= made.total);
}

#[test]
fn rescaled_guidance_is_nothing_without_guidance() {
    let mut pipeline = load(Engine::Native);
    let mut draw = |guidance_scale, guidance_rescale| {
        let request = Request { guidance_scale: Some(guidance_scale), guidance_rescale, ..request() };
        generate(&mut pipeline, request, &Sampler::default())
    };
    let (plain, rescaled) = (draw(1.0, 0.0), draw(1.0, 0.7));
    assert!(plain.images == rescaled.images && plain.warnings.is_empty());
    assert_eq!(rescaled.warnings, ["guidance_rescale has no effect at guidance_scale 1: guidance begins above 1"]);
    let (plain, rescaled) = (draw(7.5, 0.0), draw(7.5, 0.7));
    assert!(plain.images != rescaled.images && rescaled.warnings.is_empty());
}

#[test]
fn what_cannot_be_drawn_is_refused_by_field() {
    let mut pipeline = load(Engine::Native);
    let mut fail = |request, options, kind| {
        let params = params(&pipeline, request);
        let sampler = Sampler { kind: Some(kind), options };
        invalid_field(pipeline.generate(&params, &sampler, &mut (), &CancelToken::new()))
    };
    let (none, kind) = (SchedulerOptions::default(), SchedulerKind::EulerAncestral);
    for eta in [0.5, f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(fail(request(), SchedulerOptions { eta, ..none }, kind), "eta");
    }
    assert_eq!(fail(request(), SchedulerOptions { use_karras_sigmas: Some(true), ..none }, kind), "use_karras_sigmas");
    let (zero_snr, lms) = (SchedulerOptions { rescale_betas_zero_snr: Some(true), ..none }, SchedulerKind::Lms);
    assert_eq!(fail(request(), zero_snr, lms), "rescale_betas_zero_snr");
    let result: Result<SchedulerKind, Error> = "k_lms".parse();
    assert_eq!(invalid_field(result), "scheduler");
}
