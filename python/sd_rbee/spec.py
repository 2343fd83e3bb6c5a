"""What is to be drawn, with every value of the right type; ranges are the engine's to check."""

import dataclasses
import math
import numbers
import operator
import reprlib
from collections.abc import Callable
from typing import Any, TypedDict

from sd_rbee.errors import InvalidParamsError

# The engine's own limit, known here because a list of file names is made before the engine is asked.
MAX_IMAGES = 128
_INT_LIMIT = 2**32
_SEED_LIMIT = 2**64
# What SDXL takes and other models have no use for.
ONLY_OF_XL = (
    "prompt_2",
    "negative_prompt_2",
    "original_size",
    "crops_coords_top_left",
    "target_size",
    "negative_original_size",
    "negative_crops_coords_top_left",
    "negative_target_size",
)
_FROM_ZERO = ("seed", "deepcache_branch", "crops_coords_top_left", "negative_crops_coords_top_left")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 200


class GenerationParameters(TypedDict, total=False):
    """Keyword arguments of a generation, named as in diffusers; those left out or None are the model's own."""

    negative_prompt: str | None
    prompt_2: str | None
    negative_prompt_2: str | None
    original_size: tuple[int, int] | None
    crops_coords_top_left: tuple[int, int] | None
    target_size: tuple[int, int] | None
    negative_original_size: tuple[int, int] | None
    negative_crops_coords_top_left: tuple[int, int] | None
    negative_target_size: tuple[int, int] | None
    height: int | None
    width: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    guidance_rescale: float
    num_images_per_prompt: int
    seed: int | None
    scheduler: str | None
    eta: float
    timestep_spacing: str | None
    use_karras_sigmas: bool | None
    use_exponential_sigmas: bool | None
    use_beta_sigmas: bool | None
    rescale_betas_zero_snr: bool | None
    guidance_start: float
    guidance_end: float
    deepcache_interval: int
    deepcache_branch: int


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationSpec:
    """One generation asked for.

    Raises:
        InvalidParamsError: A value of the wrong type, or a number that the engine cannot hold.
    """

    prompt: str
    _: dataclasses.KW_ONLY
    negative_prompt: str | None = None
    prompt_2: str | None = None
    negative_prompt_2: str | None = None
    original_size: tuple[int, int] | None = None
    crops_coords_top_left: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    negative_original_size: tuple[int, int] | None = None
    negative_crops_coords_top_left: tuple[int, int] | None = None
    negative_target_size: tuple[int, int] | None = None
    height: int | None = None
    width: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    num_images_per_prompt: int = 1
    seed: int | None = None
    scheduler: str | None = None
    eta: float = 0.0
    timestep_spacing: str | None = None
    use_karras_sigmas: bool | None = None
    use_exponential_sigmas: bool | None = None
    use_beta_sigmas: bool | None = None
    rescale_betas_zero_snr: bool | None = None
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    deepcache_interval: int = 1
    deepcache_branch: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            object.__setattr__(self, field.name, _CHECKS[field.name](field.name, value))

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the engine."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def shorten(value: object) -> str:
    """A value's text for a message, at most 80 characters, however large or odd the value is."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, str | bytes | bytearray):
        value = value[:81]
    try:
        text = _REPR.repr(value)
    except Exception:
        # The message must not fail where the value's own text does.
        text = f"one {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"


def check_text(field: str, value: object) -> str:
    """The value as a str that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "one str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidParamsError(field, f"a lone surrogate at {error.start}", "text that UTF-8 can hold") from None
    return value


def check_int(field: str, value: object, limit: int = _INT_LIMIT) -> int:
    """The value as an int from 1, or 0 where that is a value too, up to `limit`, which is not one of them."""
    least = 0 if field in _FROM_ZERO else 1
    allowed = f"an int from {least} to {limit - 1}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", allowed)
    try:
        number = operator.index(value)
    except Exception:
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", allowed) from None
    if not least <= number < limit:
        raise InvalidParamsError(field, shorten(number), allowed)
    return number


def _check_seed(field: str, value: object) -> int:
    return check_int(field, value, _SEED_LIMIT)


def _check_images(field: str, value: object) -> int:
    return check_int(field, value, MAX_IMAGES + 1)


def _check_float(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "a finite number")
    try:
        number = float(value)
    except Exception:
        # Too large for a float above all; whatever else a number of somebody's own may raise is no number either.
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParamsError(field, shorten(value), "a finite number")
    return number


def _check_bool(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "True, False or None")
    return value


def _check_pair(field: str, value: object) -> tuple[int, int]:
    """Height and width, or top and left; a list is taken as well, as JSON has no tuples."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "two ints, (height, width)")
    first, second = (check_int(field, number) for number in value)
    return first, second


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "prompt": check_text,
    "negative_prompt": check_text,
    "prompt_2": check_text,
    "negative_prompt_2": check_text,
    "original_size": _check_pair,
    "crops_coords_top_left": _check_pair,
    "target_size": _check_pair,
    "negative_original_size": _check_pair,
    "negative_crops_coords_top_left": _check_pair,
    "negative_target_size": _check_pair,
    "height": check_int,
    "width": check_int,
    "num_inference_steps": check_int,
    "guidance_scale": _check_float,
    "guidance_rescale": _check_float,
    "num_images_per_prompt": _check_images,
    "seed": _check_seed,
    "scheduler": check_text,
    "eta": _check_float,
    "timestep_spacing": check_text,
    "use_karras_sigmas": _check_bool,
    "use_exponential_sigmas": _check_bool,
    "use_beta_sigmas": _check_bool,
    "rescale_betas_zero_snr": _check_bool,
    "guidance_start": _check_float,
    "guidance_end": _check_float,
    "deepcache_interval": check_int,
    "deepcache_branch": check_int,
}
