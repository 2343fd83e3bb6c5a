"""What is to be drawn, with every value of the right type; ranges are the engine's to check."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from sd_rbee.checks import (
    check_bool,
    check_float,
    check_int,
    check_int_from_zero,
    check_ints,
    check_text,
)
from sd_rbee.input_images import ImageInput, InputImage

# The engine's own limit, known here because a list of file names is made before the engine is asked.
MAX_IMAGES = 128
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
# What is done to an image before the engine has it, and to what it draws.
ONLY_OF_IMAGES = ("image", "mask_image", "mask_blur", "padding_mask_crop", "keep_unmasked", "outpaint")


class GenerationParameters(TypedDict, total=False):
    """Keyword arguments of a generation, named as in diffusers; those left out or None are the model's own.

    Attributes:
        negative_prompt: What to keep away from. SDXL draws without it from zeros, not from the empty prompt.
        image: What to begin with: a PIL image, an array (height, width[, 1, 3 or 4]) of uint8 or of floats in 0 to 1, a
            path, or a file's bytes. It is drawn at its own size, rounded down to multiples of `size_multiple`, or at
            `height` and `width`. Where it is transparent it is drawn anew, if there is no mask.
        mask_image: Of the image's size; what is white is drawn anew, and the rest stays. Given as `image` is.
        strength: How much of the image is drawn anew, above 0 to 1: the share of the steps that is taken.
        mask_blur: Softens the mask's edges, by a Gaussian of so many pixels.
        padding_mask_crop: Draws the masked part alone, with so many pixels around it, enlarged to `height` and `width`,
            and puts it back.
        keep_unmasked: Whether what is not masked keeps its bits, and the picture the image's size; else it goes through
            the VAE with the rest.
        outpaint: Pixels to draw beyond the image's left, top, right and bottom.
        prompt_2: What SDXL's second text encoder reads; the prompt if None.
        negative_prompt_2: The same of the negative prompt.
        original_size: Height and width that SDXL believes its training picture had; the picture's own if None. Small
            ones give blurred pictures.
        crops_coords_top_left: Top and left at which it believes that picture to be cropped; (0, 0) if None.
        target_size: Height and width that it believes to be asked for; the picture's own if None.
        negative_original_size: `original_size` of the negative prompt; together with `negative_target_size`.
        negative_crops_coords_top_left: `crops_coords_top_left` of the negative prompt.
        negative_target_size: `target_size` of the negative prompt.
        height: In pixels, a multiple of `size_multiple`.
        width: In pixels, a multiple of `size_multiple`.
        num_inference_steps: Sampling steps.
        guidance_scale: How closely to follow the prompt; 1 or less turns guidance off.
        guidance_rescale: How much of the contrast that guidance adds is taken back, 0 to 1 (Lin et al. 2023).
        num_images_per_prompt: How many pictures.
        seed: Of the first picture, 0 to 2**64 - 1; picture i has seed + i. None chooses one at random.
        scheduler: ddim, euler, dpm++-2m …; `schedulers` has all.
        eta: Noise that ddim and tcd add at each step, 0 to 1.
        timestep_spacing: leading, trailing or linspace; not for lcm and tcd.
        use_karras_sigmas: Whether the noise levels are those of Karras et al. This, the next two: for euler, heun, lms,
            unipc and both dpm++, and only one of them.
        use_exponential_sigmas: Whether the logarithms of the noise levels are evenly spaced.
        use_beta_sigmas: Whether the noise levels are quantiles of a beta distribution (Lee et al. 2024).
        rescale_betas_zero_snr: Whether the last training timestep has no signal at all (Lin et al. 2023), as some
            v-prediction models expect; not for heun, lms and pndm.
        guidance_start: Fraction of the steps before the first with guidance; a step without costs half.
        guidance_end: Fraction of the steps up to the last with guidance.
        deepcache_interval: The inner blocks of the UNet run at every so many steps alone (DeepCache); 1 is always.
        deepcache_branch: The skip connection inside of which blocks count as inner, 0 the outermost.
        clip_skip: Layers of the text encoders that are left out at their end, for the prompt alone, as diffusers does.
        prompt_syntax: plain, as diffusers reads prompts: cut where the text encoder's window ends; or a1111, as the
            webui does: of any length, with `(emphasis:1.3)`, `[less]` and `BREAK`, and `clip_skip` for the negative
            prompt too.
        vae_tiling: Whether the VAE runs in tiles where a side is above 512 pixels: the same picture in less than half
            the memory and several times the time. None does so where the memory asks for it. Several pictures are
            always decoded one after another.
    """

    negative_prompt: str | None
    image: ImageInput | None
    mask_image: ImageInput | None
    strength: float | None
    mask_blur: float
    padding_mask_crop: int | None
    keep_unmasked: bool
    outpaint: tuple[int, int, int, int] | None
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
    clip_skip: int | None
    prompt_syntax: str
    vae_tiling: bool | None


def _by(check: Callable[[str, object], object], default: Any = None) -> Any:  # noqa: ANN401 - of the field's type
    """A field whose values the function checks; None passes where it is the default."""
    return dataclasses.field(default=default, metadata={"check": check})


def _size(field: str, value: object) -> tuple[int, ...]:
    return check_ints(field, value, ("height", "width"), least=1)


def _corner(field: str, value: object) -> tuple[int, ...]:
    return check_ints(field, value, ("top", "left"), least=0)


def _border(field: str, value: object) -> tuple[int, ...]:
    return check_ints(field, value, ("left", "top", "right", "bottom"), least=0)


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationSpec:
    """One generation asked for; its fields are `GenerationParameters`.

    Raises:
        InvalidParamsError: A value of the wrong type, a number that the engine cannot hold, or an image that cannot be
            read.
    """

    prompt: str = dataclasses.field(metadata={"check": check_text})
    _: dataclasses.KW_ONLY
    negative_prompt: str | None = _by(check_text)
    image: InputImage | None = _by(InputImage.of)  # noqa: RUF009 - a dataclasses.field
    mask_image: InputImage | None = _by(InputImage.of)  # noqa: RUF009 - a dataclasses.field
    strength: float | None = _by(check_float)
    mask_blur: float = _by(check_float, 0.0)
    padding_mask_crop: int | None = _by(check_int_from_zero)
    keep_unmasked: bool = _by(check_bool, True)
    outpaint: tuple[int, int, int, int] | None = _by(_border)
    prompt_2: str | None = _by(check_text)
    negative_prompt_2: str | None = _by(check_text)
    original_size: tuple[int, int] | None = _by(_size)
    crops_coords_top_left: tuple[int, int] | None = _by(_corner)
    target_size: tuple[int, int] | None = _by(_size)
    negative_original_size: tuple[int, int] | None = _by(_size)
    negative_crops_coords_top_left: tuple[int, int] | None = _by(_corner)
    negative_target_size: tuple[int, int] | None = _by(_size)
    height: int | None = _by(check_int)
    width: int | None = _by(check_int)
    num_inference_steps: int | None = _by(check_int)
    guidance_scale: float | None = _by(check_float)
    guidance_rescale: float = _by(check_float, 0.0)
    num_images_per_prompt: int = _by(lambda field, value: check_int(field, value, MAX_IMAGES + 1), 1)
    seed: int | None = _by(lambda field, value: check_int(field, value, 2**64, least=0))
    scheduler: str | None = _by(check_text)
    eta: float = _by(check_float, 0.0)
    timestep_spacing: str | None = _by(check_text)
    use_karras_sigmas: bool | None = _by(check_bool)
    use_exponential_sigmas: bool | None = _by(check_bool)
    use_beta_sigmas: bool | None = _by(check_bool)
    rescale_betas_zero_snr: bool | None = _by(check_bool)
    guidance_start: float = _by(check_float, 0.0)
    guidance_end: float = _by(check_float, 1.0)
    deepcache_interval: int = _by(check_int, 1)
    deepcache_branch: int = _by(check_int_from_zero, 0)
    clip_skip: int | None = _by(check_int_from_zero)
    prompt_syntax: str = _by(check_text, "plain")
    vae_tiling: bool | None = _by(check_bool)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            object.__setattr__(self, field.name, field.metadata["check"](field.name, value))

    @classmethod
    def of(cls, prompt: str, **parameters: Unpack[GenerationParameters]) -> "GenerationSpec":
        """What the keyword arguments of a call ask for."""
        given: dict[str, Any] = {**parameters}
        return cls(prompt, **given)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the engine, without those of `ONLY_OF_IMAGES`."""
        names = (field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names if name not in ONLY_OF_IMAGES}

    def without_pixels(self) -> "GenerationSpec":
        """The same, whose images tell which they were and take no memory."""
        given = {name: image for name in ("image", "mask_image") if (image := getattr(self, name)) is not None}
        return dataclasses.replace(self, **{name: image.without_pixels() for name, image in given.items()})
