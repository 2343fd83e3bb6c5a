//! Pictures that are drawn over: as a whole, or where a mask says so.

use sd_rbee::Error;
use sd_rbee::image::{Gray8, Rgb8};
use sd_rbee::params::{Previews, Request, Task};
use sd_rbee::pipeline::{Engine, Generation, Pipeline, Sampler};
use sd_rbee::progress::{CancelToken, Observer, Phase, Step};
use sd_rbee::schedulers::SchedulerKind;

use super::{generate, load, observe, request, with_kind};
use crate::common::noise;

const SIDE: usize = 64;

fn picture(side: usize) -> Rgb8 {
    let pixels = noise(3 * side * side, 5).into_iter().map(|value| (value * 127.0 + 127.0) as u8).collect();
    Rgb8 { width: side, height: side, pixels }
}

/// The lower half.
fn mask(side: usize) -> Gray8 {
    let pixels = (0..side * side).map(|index| if index < side * side / 2 { 0 } else { 255 }).collect();
    Gray8 { width: side, height: side, pixels }
}

fn over() -> Request {
    Request { height: None, width: None, image: Some(picture(SIDE)), num_inference_steps: Some(6), ..request() }
}

fn inpaint() -> Request {
    Request { mask_image: Some(mask(SIDE)), ..over() }
}

struct Counter(Vec<Step>);

impl Observer for Counter {
    fn on_step(&mut self, step: &Step) -> sd_rbee::Result<()> {
        self.0.push(step.clone());
        Ok(())
    }
}

#[test]
fn a_seed_in_a_batch_draws_what_it_draws_alone() {
    let mut pipeline = load(Engine::Native);
    assert_eq!(pipeline.model().defaults.tasks, Task::ALL);
    for sampler in [SchedulerKind::Ddim, SchedulerKind::Heun, SchedulerKind::EulerAncestral].map(with_kind) {
        for request in [over(), inpaint()] {
            let batch = generate(&mut pipeline, Request { num_images_per_prompt: 2, ..request.clone() }, &sampler);
            for (seed, image) in batch.seeds.iter().zip(&batch.images) {
                let alone = generate(&mut pipeline, Request { seed: Some(*seed), ..request.clone() }, &sampler);
                assert!(alone.images[0] == *image, "seed {seed} of {:?}", batch.scheduler);
            }
            assert!(batch.images[0] != batch.images[1]);
        }
    }
}

#[test]
fn steps_are_those_that_the_strength_leaves() {
    let mut pipeline = load(Engine::Native);
    for (kind, steps) in [(SchedulerKind::Ddim, 3), (SchedulerKind::Heun, 5), (SchedulerKind::Dpmpp2m, 3)] {
        for request in [over(), inpaint()] {
            let request = Request { strength: Some(0.5), previews: Previews { every: 2, decode: false }, ..request };
            let mut counter = Counter(Vec::new());
            let params = super::params(&pipeline, request);
            pipeline.generate(&params, &with_kind(kind), &mut counter, &CancelToken::new()).expect("a picture");
            let denoised = counter.0.iter().filter(|step| step.phase == Phase::Denoise);
            let told: Vec<_> = denoised.map(|step| (step.step, step.total, step.preview.is_some())).collect();
            assert_eq!(told, (1..=steps).map(|step| (step, steps, step % 2 == 0)).collect::<Vec<_>>(), "{kind:?}");
        }
    }
}

#[test]
fn a_low_strength_stays_near_the_picture() {
    let mut pipeline = load(Engine::Native);
    // Something that the VAE can say.
    let start = generate(&mut pipeline, request(), &Sampler::default()).images.remove(0);
    let mut distance = |strength| {
        let request = Request { image: Some(start.clone()), strength: Some(strength), ..over() };
        let made = generate(&mut pipeline, Request { prompt: "a pizza".into(), ..request }, &Sampler::default());
        let pairs = made.images[0].pixels.iter().zip(&start.pixels);
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / start.pixels.len() as f64
    };
    let (low, high) = (distance(0.2), distance(1.0));
    assert!(low * 1.5 < high, "{low} and {high}");
}

#[test]
fn outside_of_the_mask_the_picture_stays() {
    let mut pipeline = load(Engine::Native);
    let mut draw = |request| -> Generation { generate(&mut pipeline, request, &Sampler::default()) };
    let (one, other) = (draw(inpaint()), draw(Request { prompt: "a pizza".into(), ..inpaint() }));
    // The decoder sees some pixels across the edge.
    let kept = 3 * SIDE * SIDE / 4;
    let difference = |from: usize, to: usize| {
        let pairs = one.images[0].pixels[from..to].iter().zip(&other.images[0].pixels[from..to]);
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / (to - from) as f64
    };
    let (above, below) = (difference(0, kept), difference(2 * kept, 4 * kept));
    assert!(above * 10.0 < below, "{above} above, {below} below");
}

#[test]
fn encoding_belongs_to_prepare_and_is_cancelled_between_layers() {
    let mut pipeline = load(Engine::Native);
    let cancel = CancelToken::new();
    struct AfterEncode<'a>(&'a CancelToken, Vec<Phase>);
    impl Observer for AfterEncode<'_> {
        fn on_step(&mut self, step: &Step) -> sd_rbee::Result<()> {
            self.1.push(step.phase);
            let cancel = self.0.clone();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                cancel.cancel();
            });
            Ok(())
        }
    }
    let large = Request { image: Some(picture(1024)), ..over() };
    let mut observer = AfterEncode(&cancel, Vec::new());
    let result = observe(&mut pipeline, large, &mut observer, &cancel);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(observer.1, [Phase::Encode]);
}

#[test]
fn the_picture_and_the_mask_count() {
    let mut pipeline: Pipeline = load(Engine::Native);
    let mut draw = |request| generate(&mut pipeline, request, &Sampler::default()).images;
    let base = draw(inpaint());
    let mut darker = picture(SIDE);
    darker.pixels.iter_mut().for_each(|value| *value /= 2);
    assert!(draw(Request { image: Some(darker), ..inpaint() }) != base);
    let mut whole = mask(SIDE);
    whole.pixels.fill(128);
    assert!(draw(Request { mask_image: Some(whole), ..inpaint() }) != base);
    assert!(draw(Request { strength: Some(0.5), ..inpaint() }) != base);
    assert!(draw(over()) != base);
}
