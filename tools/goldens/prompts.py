"""Prompts in the webui's syntax, of tiny models of every family."""

import tempfile
from pathlib import Path

from tools.goldens.checkpoints import mean_magnitude
from tools.goldens.network_cases import rms, sample
from tools.goldens.prompt_cases import MODELS, PROMPTS
from tools.goldens.store import Golden
from tools.random_checkpoint import write_checkpoint
from tools.reference.prompts import Prompts


def make() -> Golden:
    """Each case is one prompt; its arrays hold values from all over the hidden states, and the pooled state."""
    golden = Golden([], facts={"mean_magnitude": {}})
    for name, config in MODELS.items():
        with tempfile.TemporaryDirectory() as path:
            folder = write_checkpoint(config, Path(path) / "model")
            golden.facts["mean_magnitude"][name] = mean_magnitude(folder, config)
            reference = Prompts(folder)
        for number, text in enumerate(PROMPTS):
            clip_skip = 1 if number % 2 and config.text_encoder.num_hidden_layers > 1 else None
            hidden, pooled = reference.encode(text, clip_skip)
            index = len(golden.cases)
            case = {"checkpoint": name, "text": text, "clip_skip": clip_skip}
            golden.cases.append({**case, "output_shape": list(hidden.shape), "rms": rms(hidden)})
            golden.arrays[f"{index}"] = sample(hidden).astype("float32")[:256]
            if pooled is not None:
                golden.arrays[f"{index} pooled"] = pooled.astype("float32")
    return golden
