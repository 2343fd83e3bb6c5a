"""Prompts in the webui's syntax, of tiny models of every family."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.goldens.checkpoints import mean_magnitude
from tools.goldens.network_cases import sample
from tools.goldens.prompt_cases import MODELS, PROMPTS
from tools.goldens.store import Golden
from tools.metrics import relative_rms, rms
from tools.random_checkpoint import write_checkpoint
from tools.reference.prompts import Prompts

# What f32's rounding may do to hidden states: they are divided by a mean, which may be nearly zero.
_MOST_ROUNDED = 6e-6


def make() -> Golden:
    """Each case is one prompt; its arrays hold values from all over the hidden states, and the pooled state."""
    golden = Golden([], facts={"mean_magnitude": {}})
    for name, config in MODELS.items():
        with tempfile.TemporaryDirectory() as path:
            folder = write_checkpoint(config, Path(path) / "model")
            golden.facts["mean_magnitude"][name] = mean_magnitude(folder, config)
            reference, in_f32 = Prompts(folder), Prompts(folder, is_double=False)
        for number, text in enumerate(PROMPTS):
            clip_skip = 1 if number % 2 and config.text_encoder.num_hidden_layers > 1 else None
            hidden, pooled = reference.encode(text, clip_skip)
            _check(hidden, in_f32.encode(text, clip_skip)[0], text)
            index = len(golden.cases)
            case = {"checkpoint": name, "text": text, "clip_skip": clip_skip}
            golden.cases.append({**case, "output_shape": list(hidden.shape), "rms": rms(hidden)})
            golden.arrays[f"{index}"] = sample(hidden).astype("float32")[:256]
            if pooled is not None:
                golden.arrays[f"{index} pooled"] = pooled.astype("float32")
    return golden


def _check(hidden: NDArray[np.float64], in_f32: NDArray[np.float64], text: str) -> None:
    relative = relative_rms(in_f32, hidden)
    if relative > _MOST_ROUNDED:
        raise ValueError(f"{text!r}: f32 is {relative:.0e} from f64: choose another prompt or other weights")
