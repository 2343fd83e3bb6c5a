//! Requests that are held to their bounds, and what fills them.

use super::*;
use proptest::prelude::*;

pub(super) const DEFAULTS: Defaults = Defaults {
    size_multiple: 8,
    height: 64,
    width: 64,
    num_inference_steps: 20,
    guidance_scale: 7.5,
    deepcache_branches: 12,
    has_vae_tiles: true,
    max_clip_skip: 11,
    tasks: &Task::ALL,
    image_to_image_strength: 0.8,
    inpaint_strength: 1.0,
};

pub(super) fn request() -> Request {
    Request { num_images_per_prompt: 1, ..Request::default() }
}

fn field_of(request: Request) -> &'static str {
    match GenerationParams::new(request, &DEFAULTS) {
        Err(Error::InvalidParams { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_models_defaults_fill_what_is_open() {
    let params = GenerationParams::new(request(), &DEFAULTS).expect("defaults are valid");
    assert_eq!((params.height(), params.width(), params.num_inference_steps()), (64, 64, 20));
    assert!(params.is_guided());
    assert_eq!(params.seeds().len(), 1);
}

#[test]
fn each_bad_field_is_named() {
    let huge = "a".repeat(10 << 20);
    assert_eq!(field_of(Request { prompt: huge.clone(), ..request() }), "prompt");
    assert_eq!(field_of(Request { negative_prompt: Some(huge.clone()), ..request() }), "negative_prompt");
    assert_eq!(field_of(Request { prompt_2: Some(huge.clone()), ..request() }), "prompt_2");
    assert_eq!(field_of(Request { negative_prompt_2: Some(huge), ..request() }), "negative_prompt_2");
    let sizes = SizeConditioning { target_size: Some((0, 8)), ..SizeConditioning::default() };
    assert_eq!(field_of(Request { sizes, ..request() }), "target_size");
    assert_eq!(field_of(Request { num_inference_steps: Some(0), ..request() }), "num_inference_steps");
    assert_eq!(field_of(Request { num_inference_steps: Some(1001), ..request() }), "num_inference_steps");
    assert_eq!(field_of(Request { guidance_scale: Some(f64::NAN), ..request() }), "guidance_scale");
    assert_eq!(field_of(Request { guidance_scale: Some(-1.0), ..request() }), "guidance_scale");
    assert_eq!(field_of(Request { guidance_scale: Some(f64::INFINITY), ..request() }), "guidance_scale");
    for guidance_rescale in [-0.1, 1.1, f64::NAN] {
        assert_eq!(field_of(Request { guidance_rescale, ..request() }), "guidance_rescale");
    }
    assert_eq!(field_of(Request { guidance_start: Some(1.0), ..request() }), "guidance_start");
    assert_eq!(field_of(Request { guidance_end: Some(0.0), ..request() }), "guidance_end");
    assert_eq!(field_of(Request { deepcache_interval: Some(0), ..request() }), "deepcache_interval");
    assert_eq!(field_of(Request { deepcache_branch: Some(12), ..request() }), "deepcache_branch");
    assert_eq!(field_of(Request { num_images_per_prompt: 0, ..request() }), "num_images_per_prompt");
    assert_eq!(field_of(Request { seed: Some(u64::MAX), num_images_per_prompt: 2, ..request() }), "seed");
}

#[test]
fn a_model_without_any_possible_size_is_refused() {
    for size_multiple in [0, MAX_SIDE + 1, usize::MAX] {
        let result = GenerationParams::new(request(), &Defaults { size_multiple, ..DEFAULTS });
        assert!(matches!(result, Err(Error::Checkpoint(_))), "{size_multiple}: {result:?}");
    }
    let whole = Defaults { size_multiple: MAX_SIDE, height: MAX_SIDE, width: MAX_SIDE, ..DEFAULTS };
    GenerationParams::new(request(), &whole).expect("one size is possible");
}

#[test]
fn sides_are_refused_with_the_nearest_that_is_allowed() {
    for (given, nearest) in [(0, 8), (3, 8), (511, 512), (516, 520), (1_000_000, 4096), (usize::MAX, 4096)] {
        let text = side("height", given, 8).expect_err("refused").to_string();
        let want = format!("height: got {given}, allowed is a multiple of 8 in 8 to 4096; the nearest is {nearest}");
        assert_eq!(text, want);
    }
}

proptest! {
    #[test]
    fn any_request_is_held_to_its_bounds(
        steps in prop::option::of(prop_oneof![4 => 0usize..1100, 1 => any::<usize>()]),
        guidance in prop::option::of(prop_oneof![4 => -1f64..1100.0, 1 => any::<f64>()]),
        images in prop_oneof![4 => 0usize..140, 1 => any::<usize>()],
        seed: Option<u64>,
        sides in prop::option::of((0usize..520).prop_map(|eighths| eighths * 8)),
    ) {
        let request = Request {
            num_inference_steps: steps, guidance_scale: guidance, num_images_per_prompt: images, seed,
            height: sides, width: sides,
            ..Request::default()
        };
        match GenerationParams::new(request, &DEFAULTS) {
            Ok(params) => {
                prop_assert!((1..=MAX_STEPS).contains(&params.num_inference_steps()));
                prop_assert!((0.0..=MAX_GUIDANCE).contains(&params.guidance_scale()));
                prop_assert_eq!(params.seeds().len(), images);
                prop_assert!(params.seeds().is_sorted() && seed.is_none_or(|seed| params.seeds()[0] == seed));
                for side in [params.height(), params.width()] {
                    prop_assert!(side.is_multiple_of(8) && (8..=MAX_SIDE).contains(&side));
                }
            }
            Err(error) => prop_assert!(matches!(error, Error::InvalidParams { .. }), "{:?}", error),
        }
    }

    #[test]
    fn a_side_is_accepted_or_its_nearest_is(given: usize, multiple in 1usize..=64) {
        let check = |side: usize| super::side("width", side, multiple);
        match check(given) {
            Ok(side) => prop_assert_eq!(side, given),
            Err(error) => {
                let text = error.to_string();
                let nearest: usize = text.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                prop_assert_eq!(check(nearest).expect("the nearest is allowed"), nearest);
                if given <= MAX_SIDE {
                    prop_assert!(nearest.abs_diff(given) <= multiple);
                }
            }
        }
    }
}
