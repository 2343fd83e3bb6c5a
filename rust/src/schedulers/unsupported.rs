//! What a configuration may ask for that changes a picture and is not implemented.

use super::fields::{Fields, bad};
use super::kind::SchedulerKind;
use crate::error::{Error, Result};

/// Something that a configuration asks for and that these kinds would obey in diffusers, but do not here.
#[derive(Debug, Clone)]
pub(super) struct Unsupported {
    pub(super) kinds: &'static [SchedulerKind],
    pub(super) error: Error,
}

/// Everything known that changes a picture and is not implemented, with the kinds whose diffusers class reads it.
pub(super) fn unsupported(fields: &Fields<'_>) -> Result<Vec<Unsupported>> {
    use SchedulerKind::{Ddim, Ddpm, Dpmpp2m, Dpmpp2mSde, EulerAncestral, Lcm, Pndm, Unipc};
    const DPM: &[SchedulerKind] = &[Dpmpp2m, Dpmpp2mSde];
    const FLAGS: &[(&str, &[SchedulerKind])] = &[
        ("thresholding", &[Ddim, Ddpm, Dpmpp2m, Dpmpp2mSde, Unipc, Lcm]),
        ("use_lu_lambdas", DPM),
        ("use_flow_sigmas", &[Dpmpp2m, Dpmpp2mSde, Unipc]),
        ("use_dynamic_shifting", &[Unipc]),
    ];
    let mut found = Vec::new();
    for &(key, kinds) in FLAGS {
        if fields.bool(key, false)? {
            found.push(Unsupported { kinds, error: bad(key, true, false) });
        }
    }
    if !fields.bool("predict_x0", true)? {
        found.push(Unsupported { kinds: &[Unipc], error: bad("predict_x0", false, true) });
    }
    let mut only = |key: &str, kinds, supported: &[&str]| {
        if let Some(value) = fields.get(key)
            && !supported.iter().any(|name| value.as_str() == Some(name) || (value.is_null() && *name == "null"))
        {
            found.push(Unsupported { kinds, error: bad(key, value, supported.join(", ")) });
        }
    };
    // The kind chooses between both algorithms, and diffusers itself reads "deis" as "dpmsolver++".
    only("algorithm_type", DPM, &["dpmsolver++", "sde-dpmsolver++", "deis"]);
    only("prediction_type", &[EulerAncestral, Pndm], &["epsilon", "v_prediction"]);
    only("solver_p", &[Unipc], &["null"]);
    only("shift_terminal", &[Unipc], &["null"]);
    // Where a configuration of another class says null, ddpm takes the small one.
    only("variance_type", &[Ddpm], &["fixed_small", "fixed_small_log", "fixed_large", "null"]);
    if fields.get("variance_type").is_some_and(|v| matches!(v.as_str(), Some("learned" | "learned_range"))) {
        only("variance_type", DPM, &["null"]);
    }
    if fields.integer("solver_order", 2, 3)? == 3 {
        found.push(Unsupported { kinds: DPM, error: bad("solver_order", 3, "1 or 2") });
    }
    Ok(found)
}
