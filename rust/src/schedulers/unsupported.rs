//! What a configuration may ask for that changes a picture and is not implemented.

use super::SchedulerKind;
use super::fields::{Fields, bad};
use crate::error::{Error, Result};

/// Something that a configuration asks for and that these kinds would obey in diffusers, but do not here.
#[derive(Debug, Clone)]
pub(super) struct Unsupported {
    pub(super) kinds: &'static [SchedulerKind],
    pub(super) error: Error,
}

/// Everything known that changes a picture and is not implemented, with the kinds whose diffusers class reads it.
pub(super) fn unsupported(fields: &Fields<'_>) -> Result<Vec<Unsupported>> {
    use SchedulerKind::{Ddim, Dpmpp2m, Euler, EulerAncestral};
    const FLAGS: &[(&str, &[SchedulerKind])] = &[
        ("rescale_betas_zero_snr", &[Ddim, Euler, EulerAncestral, Dpmpp2m]),
        ("thresholding", &[Ddim, Dpmpp2m]),
        ("use_exponential_sigmas", &[Euler, Dpmpp2m]),
        ("use_beta_sigmas", &[Euler, Dpmpp2m]),
        ("use_lu_lambdas", &[Dpmpp2m]),
        ("use_flow_sigmas", &[Dpmpp2m]),
    ];
    let mut found = Vec::new();
    for &(key, kinds) in FLAGS {
        if fields.bool(key, false)? {
            found.push(Unsupported { kinds, error: bad(key, true, false) });
        }
    }
    let mut only = |key: &str, kinds, supported: &[&str]| {
        if let Some(value) = fields.get(key)
            && !supported.iter().any(|name| value.as_str() == Some(name))
        {
            found.push(Unsupported { kinds, error: bad(key, value, supported.join(", ")) });
        }
    };
    // diffusers itself reads "deis" as "dpmsolver++".
    only("algorithm_type", &[Dpmpp2m], &["dpmsolver++", "deis"]);
    only("prediction_type", &[EulerAncestral], &["epsilon", "v_prediction"]);
    if fields.get("variance_type").is_some_and(|v| matches!(v.as_str(), Some("learned" | "learned_range"))) {
        only("variance_type", &[Dpmpp2m], &["null"]);
    }
    if fields.integer("solver_order", 2, 3)? == 3 {
        found.push(Unsupported { kinds: &[Dpmpp2m], error: bad("solver_order", 3, "1 or 2") });
    }
    Ok(found)
}
