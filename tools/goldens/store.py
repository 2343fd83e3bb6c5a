"""The files that goldens are kept in: one `.npz` a part, or a `.json` where there are no arrays."""

import importlib.metadata
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[2] / "tests" / "goldens"
_LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "numpy")
_META = "meta"


@dataclass(slots=True)
class Golden:
    """Cases and their expected values.

    Attributes:
        cases: What to do, as JSON can say it.
        arrays: Expected values by the names that the cases know them by.
        facts: What else the goldens depend on, such as the digest of a model's weights.
        made_with: Versions of the libraries that the values come from.
    """

    cases: list[dict[str, Any]]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """The versions that goldens made now are made with."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {**found, "python": platform.python_version(), "machine": platform.machine()}


def save(name: str, golden: Golden, folder: Path = FOLDER) -> Path:
    """Writes `golden` with the current versions; the same values make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {"made_with": versions(), "facts": golden.facts}
    if not golden.arrays:
        path = folder / f"{name}.json"
        cases = ",\n".join(json.dumps(case) for case in golden.cases)
        path.write_text(f'{json.dumps(meta)[:-1]}, "cases": [\n{cases}\n]}}\n', encoding="ascii", newline="\n")
        return path
    arrays: dict[str, NDArray[Any]] = {}
    meta |= {"cases": golden.cases, "same": {}}
    first: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
    for key, array in golden.arrays.items():
        known = first.setdefault((array.tobytes(), array.dtype.str, array.shape), key)
        if known == key:
            arrays[key] = array
        else:
            meta["same"][key] = known
    path = folder / f"{name}.npz"
    text = np.frombuffer(json.dumps(meta).encode("ascii"), np.uint8)
    np.savez_compressed(path, allow_pickle=False, **{_META: text}, **arrays)
    return path


def load(name: str, folder: Path = FOLDER) -> Golden:
    """Reads what `save` wrote."""
    path = folder / f"{name}.npz"
    if not path.exists():
        meta = json.loads((folder / f"{name}.json").read_text(encoding="ascii"))
        return Golden(meta["cases"], {}, meta["facts"], meta["made_with"])
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(arrays.pop(_META).tobytes())
    arrays |= {key: arrays[known] for key, known in meta["same"].items()}
    return Golden(meta["cases"], arrays, meta["facts"], meta["made_with"])
