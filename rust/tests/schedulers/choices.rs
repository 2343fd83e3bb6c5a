//! What callers choose.

use serde_json::json;

use super::*;

type Choice = (&'static str, fn(Option<bool>) -> SchedulerOptions);

const SIGMAS: [Choice; 3] = [
    ("use_karras_sigmas", |given| SchedulerOptions { use_karras_sigmas: given, ..none() }),
    ("use_exponential_sigmas", |given| SchedulerOptions { use_exponential_sigmas: given, ..none() }),
    ("use_beta_sigmas", |given| SchedulerOptions { use_beta_sigmas: given, ..none() }),
];

fn none() -> SchedulerOptions {
    SchedulerOptions::default()
}

fn field(error: Error) -> &'static str {
    match error {
        Error::InvalidParams { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_are_read_back() {
    for kind in SchedulerKind::ALL {
        assert_eq!(kind.name().parse::<SchedulerKind>().expect("a name"), kind);
    }
}

#[test]
fn what_a_kind_does_not_have_is_refused_by_field() {
    let config = changed(json!({}));
    for kind in SchedulerKind::ALL {
        for (name, choose) in SIGMAS {
            if !kind.has_sigma_schedules() {
                assert_eq!(field(refusal(kind, &config, 5, choose(Some(true)))), name, "{kind}");
            }
            schedulers::create(kind, &config, 5, &choose(Some(false))).expect("a false is always obeyed");
        }
        if !kind.has_zero_snr() {
            let options = SchedulerOptions { rescale_betas_zero_snr: Some(true), ..none() };
            assert_eq!(field(refusal(kind, &config, 5, options)), "rescale_betas_zero_snr", "{kind}");
        }
        if !kind.has_eta() {
            assert_eq!(field(refusal(kind, &config, 5, SchedulerOptions { eta: 0.5, ..none() })), "eta", "{kind}");
        }
        if !kind.has_timestep_spacing() {
            let options = SchedulerOptions { timestep_spacing: "leading".parse().ok(), ..none() };
            assert_eq!(field(refusal(kind, &config, 5, options)), "timestep_spacing", "{kind}");
        }
        for steps in [0, 1001] {
            assert_eq!(field(refusal(kind, &config, steps, none())), "num_inference_steps", "{kind}");
        }
    }
}

#[test]
fn sigmas_are_chosen_once() {
    let config = changed(json!({"use_exponential_sigmas": true}));
    let karras = SchedulerOptions { use_karras_sigmas: Some(true), ..none() };
    let resolved = karras.resolved(SchedulerKind::Euler, &config);
    assert_eq!((resolved.use_karras_sigmas, resolved.use_exponential_sigmas), (Some(true), Some(false)));
    let resolved = none().resolved(SchedulerKind::Euler, &config);
    assert_eq!((resolved.use_karras_sigmas, resolved.use_exponential_sigmas), (Some(false), Some(true)));
    let resolved = none().resolved(SchedulerKind::Ddim, &config);
    assert_eq!(resolved.use_exponential_sigmas, Some(false));

    let two = SchedulerOptions { use_beta_sigmas: Some(true), ..karras };
    assert_eq!(field(refusal(SchedulerKind::Euler, &config, 5, two)), "use_beta_sigmas");
    let config = changed(json!({"use_exponential_sigmas": true, "use_beta_sigmas": true}));
    let text = refusal(SchedulerKind::Lms, &config, 5, none()).to_string();
    assert!(text.contains("use_exponential_sigmas and use_beta_sigmas are both true"), "{text}");
    create(SchedulerKind::Ddim, &config, 5);
}

#[test]
fn consistency_models_take_no_more_steps_than_their_distillation() {
    let config = changed(json!({"original_inference_steps": 30}));
    for kind in [SchedulerKind::Lcm, SchedulerKind::Tcd] {
        assert_eq!(field(refusal(kind, &config, 31, none())), "num_inference_steps");
        assert_eq!(create(kind, &config, 30).timesteps().len(), 30);
        let text = refusal(kind, &changed(json!({"original_inference_steps": 1001})), 5, none()).to_string();
        assert!(text.contains("original_inference_steps is 1001"), "{text}");
    }
}

#[test]
fn noise_cannot_be_predicted_where_there_is_no_signal() {
    let config = changed(json!({"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"}));
    for kind in SchedulerKind::ALL.into_iter().filter(|kind| kind.has_zero_snr()) {
        match (kind, schedulers::create(kind, &config, 5, &none())) {
            (SchedulerKind::Ddim | SchedulerKind::Ddpm | SchedulerKind::Lcm | SchedulerKind::Tcd, Err(error)) => {
                assert!(error.to_string().contains("prediction_type epsilon"), "{kind}: {error}");
            }
            (_, result) => assert!((result.expect("a schedule").sigmas()[0] - 4096.0).abs() < 0.5, "{kind}"),
        }
    }
    let velocity = changed(json!({
        "rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "prediction_type": "v_prediction"
    }));
    assert_eq!(create(SchedulerKind::Ddim, &velocity, 5).timesteps()[0], 999.0);
}
