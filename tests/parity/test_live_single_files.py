"""Single files as diffusers reads them, live."""

import json
from pathlib import Path
from typing import Any

import pytest

import needs_torch  # noqa: F401
from single_files import CONFIGS, write_model
from tools.random_checkpoint.single_file import Tensors, read, write_single_file

pytestmark = pytest.mark.parity

_DTYPES = {"torch.float16": "F16"}


def _from_single_file(path: Path, folder: Path) -> dict[str, Any]:
    """The components of diffusers' pipeline: tensors from the file, configurations and tokenizers from the folder."""
    import diffusers
    import torch

    name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    read_file = getattr(diffusers, name).from_single_file
    pipeline = read_file(str(path), config=str(folder), local_files_only=True, dtype=torch.float16)
    components: dict[str, Any] = pipeline.components
    return components


def _tensors(module: Any) -> Tensors:  # noqa: ANN401 - torch's
    return {
        name.removeprefix("text_model."): (_DTYPES[str(tensor.dtype)], list(tensor.shape), tensor.numpy().tobytes())
        for name, tensor in module.state_dict().items()
    }


@pytest.mark.parametrize("kind", CONFIGS)
def test_diffusers_reads_the_folders_tensors_from_the_file(kind: str, tmp_path: Path) -> None:
    """That we draw the same picture from both is tested elsewhere: so we read what diffusers does."""
    folder = write_model(kind, tmp_path / "folder")
    components = _from_single_file(write_single_file(folder, tmp_path / "model.safetensors"), folder)
    for component in ("text_encoder", "text_encoder_2", "unet", "vae"):
        if (folder / component).is_dir():
            stored = {name.removeprefix("text_model."): tensor for name, tensor in read(folder / component).items()}
            assert _tensors(components[component]) == stored
