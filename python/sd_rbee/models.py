"""Which model a name or a path means."""

import json
import os
from pathlib import Path

from sd_rbee.errors import InvalidParamsError, ModelNotFoundError

DEFAULT = "pollen"
_INDEX = "model_index.json"
_MAX_INDEX_BYTES = 1 << 20
_EMBEDDED = {DEFAULT: Path(__file__).parent / "pollen"}


def available() -> dict[str, Path]:
    """The models at hand, by alias."""
    return {alias: folder for alias, folder in _EMBEDDED.items() if (folder / _INDEX).is_file()}


def resolve(model: str | os.PathLike[str]) -> Path:
    """The folder of an alias, or an existing path; an alias wins over a path of the same name, which `./name` is.

    Raises:
        ModelNotFoundError: Neither an alias nor an existing path.
        InvalidParamsError: Neither a str nor a path.
    """
    text = _text("model", model, "an alias or a path, as str or os.PathLike")
    if isinstance(model, str) and model in (models := available()):
        return models[model]
    if path := _existing(text):
        return path
    aliases = ", ".join(available()) or "none"
    raise ModelNotFoundError(f"no model {_shown(text)}: not an alias (at hand: {aliases}) and not an existing path")


def component(field: str, path: str | os.PathLike[str]) -> Path:
    """The folder or the file of one component, such as a VAE, that the argument `field` names.

    Raises:
        ModelNotFoundError: There is nothing of that name.
        InvalidParamsError: Neither a str nor a path.
    """
    text = _text(field, path, "a path, as str or os.PathLike")
    if existing := _existing(text):
        return existing
    raise ModelNotFoundError(f"{field}: no existing path {_shown(text)}")


def name(model: str | os.PathLike[str]) -> str:
    """What a model is called in a picture's metadata: its alias, or the name of its folder or its file."""
    return model if isinstance(model, str) and model in _EMBEDDED else resolve(model).resolve().name


def pipeline_class(model: str | os.PathLike[str]) -> str | None:
    """The class of diffusers that the model says it is for; None where it says none, which loading it will tell of."""
    try:
        with (resolve(model) / _INDEX).open("rb") as file:
            index = json.loads(file.read(_MAX_INDEX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    name = index.get("_class_name") if isinstance(index, dict) else None
    return name if isinstance(name, str) else None


def has_own_defaults(model: str | os.PathLike[str]) -> bool:
    """Whether the model's folder says how many steps and how much guidance suit it."""
    return (resolve(model) / "generation_config.json").is_file()


def _text(field: str, path: str | os.PathLike[str], allowed: str) -> str:
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InvalidParamsError(field, type(path).__name__, allowed)
    return text


def _existing(text: str) -> Path | None:
    """The absolute path of what is there by this name."""
    try:
        text.encode()
        path = Path(text).expanduser()
        return path.absolute() if text and path.exists() else None
    except (OSError, ValueError, RuntimeError):
        # Not a name that this file system can hold, or the home folder of nobody.
        return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
