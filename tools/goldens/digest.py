"""Which model goldens were made with."""

import hashlib
from pathlib import Path


def digest(folder: Path) -> str:
    """SHA-256 over the weights and all JSON files of a model in diffusers layout."""
    total = hashlib.sha256()
    for path in sorted((*folder.rglob("*.safetensors"), *folder.rglob("*.json"))):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
