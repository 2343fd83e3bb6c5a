//! What configurations choose.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_class_stands_for_its_kind() {
    for (class, kind) in [
        ("DDIMScheduler", SchedulerKind::Ddim),
        ("DDPMScheduler", SchedulerKind::Ddpm),
        ("EulerDiscreteScheduler", SchedulerKind::Euler),
        ("EulerAncestralDiscreteScheduler", SchedulerKind::EulerAncestral),
        ("HeunDiscreteScheduler", SchedulerKind::Heun),
        ("LMSDiscreteScheduler", SchedulerKind::Lms),
        ("DPMSolverMultistepScheduler", SchedulerKind::Dpmpp2m),
        ("UniPCMultistepScheduler", SchedulerKind::Unipc),
        ("LCMScheduler", SchedulerKind::Lcm),
        ("TCDScheduler", SchedulerKind::Tcd),
        // Stable Diffusion 1 comes with it, and draws with ddim here unless it is asked for.
        ("PNDMScheduler", SchedulerKind::Ddim),
        ("DEISMultistepScheduler", SchedulerKind::Ddim),
    ] {
        assert_eq!(changed(json!({"_class_name": class})).default_kind(), kind);
    }
    let sde = json!({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"});
    assert_eq!(changed(sde).default_kind(), SchedulerKind::Dpmpp2mSde);
}

#[test]
fn what_is_not_supported_is_refused_where_it_would_count() {
    use SchedulerKind::{Ddpm, Dpmpp2m, Dpmpp2mSde, EulerAncestral, Lcm, Pndm, Unipc};
    for (key, value, kinds) in [
        ("thresholding", json!(true), &[SchedulerKind::Ddim, Ddpm, Dpmpp2m, Dpmpp2mSde, Unipc, Lcm] as &[_]),
        ("use_lu_lambdas", json!(true), &[Dpmpp2m, Dpmpp2mSde]),
        ("use_flow_sigmas", json!(true), &[Dpmpp2m, Dpmpp2mSde, Unipc]),
        ("algorithm_type", json!("dpmsolver"), &[Dpmpp2m, Dpmpp2mSde]),
        ("solver_order", json!(3), &[Dpmpp2m, Dpmpp2mSde]),
        ("predict_x0", json!(false), &[Unipc]),
        ("solver_p", json!({}), &[Unipc]),
        ("variance_type", json!("learned_range"), &[Ddpm, Dpmpp2m, Dpmpp2mSde]),
        ("variance_type", json!("fixed_large_log"), &[Ddpm]),
        ("prediction_type", json!("sample"), &[EulerAncestral, Pndm]),
    ] {
        let config = changed(json!({key: value}));
        for kind in SchedulerKind::ALL {
            match schedulers::create(kind, &config, 10, &SchedulerOptions::default()) {
                Ok(_) => assert!(!kinds.contains(&kind), "{kind} accepts {key} {value}"),
                Err(error) => {
                    assert!(kinds.contains(&kind), "{kind}: {error}");
                    assert!(error.to_string().contains(key), "{kind}: {error}");
                }
            }
        }
    }
}

#[test]
fn runge_kutta_steps_take_four_steps() {
    let config = changed(json!({"skip_prk_steps": false}));
    for steps in 1..4 {
        let error = refusal(SchedulerKind::Pndm, &config, steps, SchedulerOptions::default());
        assert!(matches!(error, Error::InvalidParams { field: "num_inference_steps", .. }), "{error}");
    }
    create(SchedulerKind::Pndm, &config, 4);
}

#[test]
fn places_are_whole_numbers() {
    for value in [json!("first"), json!([-1]), json!([0.5]), json!({})] {
        let mut config = base();
        config["disable_corrector"] = value;
        let error = SchedulerConfig::from_json(&config).expect_err("refused").to_string();
        assert!(error.contains("disable_corrector"), "{error}");
    }
}

fn any_config() -> impl Strategy<Value = Value> {
    let flags = prop::collection::vec(any::<bool>(), 9);
    let names = (
        prop::sample::select(vec!["linear", "scaled_linear", "squaredcos_cap_v2"]),
        prop::sample::select(vec!["epsilon", "sample", "v_prediction"]),
        prop::sample::select(vec!["leading", "trailing", "linspace"]),
        prop::sample::select(vec!["midpoint", "heun", "bh1", "bh2", "logrho"]),
        prop::sample::select(vec!["zero", "sigma_min"]),
    );
    let numbers = (1usize..60, 0.0f64..0.5, 0.0f64..1.0, 0u64..70, 1u64..4, 1u64..60);
    (flags, names, numbers, prop::option::of(1e-4f64..1e4)).prop_map(|(flags, names, numbers, sigma)| {
        json!({
            "clip_sample": flags[0], "set_alpha_to_one": flags[1], "skip_prk_steps": flags[2],
            "rescale_betas_zero_snr": flags[3], "use_karras_sigmas": flags[4] && flags[5],
            "use_exponential_sigmas": flags[4] && !flags[5], "use_beta_sigmas": flags[6] && !flags[4],
            "lower_order_final": flags[7], "euler_at_final": flags[8],
            "beta_schedule": names.0, "prediction_type": names.1, "timestep_spacing": names.2,
            "solver_type": names.3, "final_sigmas_type": names.4,
            "num_train_timesteps": numbers.0, "beta_start": numbers.1, "beta_end": numbers.2,
            "steps_offset": numbers.3, "solver_order": numbers.4, "original_inference_steps": numbers.5,
            "sigma_min": sigma, "sigma_max": sigma.map(|sigma| sigma * 2.0)
        })
    })
}

proptest! {
    #[test]
    fn any_configuration_runs_or_is_refused(config in any_config(), steps in 0usize..70, eta in 0.0f64..1.0) {
        let config = SchedulerConfig::from_json(&config).expect("every value is allowed");
        for kind in SchedulerKind::ALL {
            let options = SchedulerOptions { eta: if kind.has_eta() { eta } else { 0.0 }, ..Default::default() };
            match schedulers::create(kind, &config, steps, &options) {
                Ok(mut scheduler) => {
                    let (samples, _) = run(scheduler.as_mut(), 0);
                    prop_assert_eq!(samples.len(), scheduler.timesteps().len());
                }
                Err(Error::InvalidParams { .. } | Error::Checkpoint(_)) => {}
                Err(other) => prop_assert!(false, "{}: {:?}", kind, other),
            }
        }
    }
}
