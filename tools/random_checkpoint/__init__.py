"""Stable Diffusion checkpoints with random weights, written without torch: for tests and benchmarks.

    python -m tools.random_checkpoint v1-5 FOLDER [--dtype f32|f16|bf16] [--seed N]

In Python any shape can be had:

    write_checkpoint(replace(PRESETS["tiny"], dtype="bf16"), folder, seed=1)
"""

from tools.random_checkpoint.config import (
    CheckpointConfig,
    ClipTextConfig,
    Dtype,
    SchedulerConfig,
    TinyVaeConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
)
from tools.random_checkpoint.folder import specs, write_checkpoint, write_vae
from tools.random_checkpoint.presets import PRESETS

__all__ = [
    "PRESETS",
    "CheckpointConfig",
    "ClipTextConfig",
    "Dtype",
    "SchedulerConfig",
    "TinyVaeConfig",
    "TokenizerConfig",
    "UNetConfig",
    "VaeConfig",
    "specs",
    "write_checkpoint",
    "write_vae",
]
