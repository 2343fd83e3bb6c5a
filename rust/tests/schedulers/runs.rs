//! Runs: how many calls they take, where they may begin, what they draw.

use candle_core::DType;
use serde_json::json;

use super::*;

#[test]
fn a_timestep_is_a_call_of_the_network() {
    let config = changed(json!({}));
    for kind in SchedulerKind::ALL {
        for steps in [1, 2, 5, 20, 50] {
            let expected = match kind {
                SchedulerKind::Heun => 2 * steps - 1,
                SchedulerKind::Pndm if steps > 1 => steps + 1,
                _ => steps,
            };
            let scheduler = create(kind, &config, steps);
            assert_eq!(scheduler.timesteps().len(), expected, "{kind} of {steps} steps");
            if !scheduler.sigmas().is_empty() {
                assert_eq!(scheduler.sigmas().len(), expected + 1, "{kind} of {steps} steps");
            }
        }
    }
    let prk = create(SchedulerKind::Pndm, &changed(json!({"skip_prk_steps": false})), 20);
    assert_eq!(prk.timesteps().len(), 29);
}

#[test]
fn noise_is_drawn_as_often_as_is_told() {
    let config = changed(json!({"steps_offset": 0}));
    for kind in SchedulerKind::ALL {
        let expected = match kind {
            SchedulerKind::EulerAncestral | SchedulerKind::Dpmpp2mSde => 10,
            SchedulerKind::Ddpm | SchedulerKind::Lcm => 9,
            _ => 0,
        };
        assert_eq!(run(create(kind, &config, 10).as_mut(), 0).1, expected, "{kind}");
    }
    let noisy = SchedulerOptions { eta: 0.5, ..SchedulerOptions::default() };
    for (kind, expected) in [(SchedulerKind::Ddim, 10), (SchedulerKind::Tcd, 9)] {
        let mut scheduler = schedulers::create(kind, &config, 10, &noisy).expect("a schedule");
        assert_eq!(run(scheduler.as_mut(), 0).1, expected, "{kind}");
    }
}

#[test]
fn a_run_remembers_nothing_of_the_one_before() {
    let config = changed(json!({}));
    for kind in SchedulerKind::ALL {
        let mut used = create(kind, &config, 12);
        run(used.as_mut(), 0);
        for begin in [0, 4, 6] {
            let fresh = run(create(kind, &config, 12).as_mut(), begin);
            assert_eq!(run(used.as_mut(), begin), fresh, "{kind} from {begin}");
        }
    }
}

#[test]
fn a_run_of_heun_begins_with_the_first_step_of_two() {
    let mut scheduler = create(SchedulerKind::Heun, &changed(json!({})), 10);
    assert_eq!(scheduler.order(), 2);
    for index in [1, 7] {
        let result = scheduler.step(&sample(0), index, &sample(1), &mut |_| Ok(sample(2)));
        assert!(matches!(result, Err(Error::Inference(_))), "{index}: {result:?}");
    }
}

#[test]
fn steps_past_the_end_are_errors() {
    for kind in SchedulerKind::ALL {
        let mut scheduler = create(kind, &changed(json!({})), 5);
        let past = scheduler.timesteps().len();
        let inference = |result| matches!(result, Err(Error::Inference(_)));
        assert!(inference(scheduler.add_noise(&sample(0), &sample(1), past)), "{kind}");
        assert!(inference(scheduler.scale_model_input(&sample(0), past)), "{kind}");
        let stepped = scheduler.step(&sample(0), past, &sample(1), &mut |_| Ok(sample(2)));
        assert!(inference(stepped.map(|output| output.prev_sample)), "{kind}");
    }
}

#[test]
fn samples_keep_their_dtype() {
    let narrow = |seed| sample(seed).to_dtype(DType::BF16).expect("bf16");
    for kind in SchedulerKind::ALL {
        let mut scheduler = create(kind, &changed(json!({})), 5);
        let noised = scheduler.add_noise(&narrow(0), &sample(1), 0).expect("noise");
        assert_eq!(noised.dtype(), DType::BF16, "{kind}");
        for index in 0..scheduler.timesteps().len() {
            let stepped = scheduler.step(&sample(3), index, &noised, &mut |_| Ok(sample(2))).expect("a step");
            assert_eq!(stepped.prev_sample.dtype(), DType::BF16, "{kind}");
            assert_eq!(stepped.pred_original_sample.dtype(), DType::BF16, "{kind}");
        }
    }
}
