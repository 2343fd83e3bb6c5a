"""Scheduler configurations, as the repositories of these models have them in `scheduler_config.json`."""

import json
from typing import Any

from sd_rbee import models

_STABLE_DIFFUSION: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
V1: dict[str, Any] = {**_STABLE_DIFFUSION, "_class_name": "PNDMScheduler", "clip_sample": False, "steps_offset": 1}
V2: dict[str, Any] = {
    **_STABLE_DIFFUSION,
    "_class_name": "DDIMScheduler",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
}
TURBO: dict[str, Any] = {
    **_STABLE_DIFFUSION,
    "_class_name": "EulerDiscreteScheduler",
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "sigma_max": None,
    "sigma_min": None,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
    "timestep_type": "discrete",
    "use_karras_sigmas": False,
}
# What diffusers' classes default to, with the clipping and the last alpha that this brings.
LINEAR: dict[str, Any] = {"beta_schedule": "linear", "final_sigmas_type": "sigma_min"}
COSINE: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1, "steps_offset": 0}


def pollen() -> dict[str, Any]:
    """The embedded model's."""
    path = models.resolve("pollen") / "scheduler" / "scheduler_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def configs() -> dict[str, dict[str, Any]]:
    """All of them by name."""
    return {"v1": V1, "v2": V2, "turbo": TURBO, "pollen": pollen(), "linear": LINEAR, "cosine": COSINE}
