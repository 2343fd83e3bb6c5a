"""Bodies of requests; an unknown field is an error that names it.

Ranges are told to the schema alone: they are checked by those who can say what is allowed.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec


def _range(**limits: object) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema=limits)


_PromptText: TypeAlias = Annotated[str, _range(maxLength=256 << 10)]
_Picture: TypeAlias = Annotated[
    str, _range(format="byte", description="PNG, JPEG or WebP in base64, or a data URI of it.")
]
_Strength: TypeAlias = Annotated[float, _range(exclusiveMinimum=0, maximum=1)]
_Side: TypeAlias = Annotated[int, _range(minimum=1)]
_Blur: TypeAlias = Annotated[float, _range(minimum=0, maximum=1024)]
_Padding: TypeAlias = Annotated[int, _range(minimum=0, maximum=2**32 - 1)]
_Border: TypeAlias = Annotated[
    list[Annotated[int, _range(minimum=0)]],
    _range(minItems=4, maxItems=4, description="Pixels beyond the left, the top, the right and the bottom."),
]
_Size: TypeAlias = Annotated[
    list[Annotated[int, _range(minimum=1, maximum=1 << 16)]],
    _range(minItems=2, maxItems=2, description="Height and width. Of use to SDXL alone."),
]
_Corner: TypeAlias = Annotated[
    list[Annotated[int, _range(minimum=0, maximum=1 << 16)]],
    _range(minItems=2, maxItems=2, description="Top and left. Of use to SDXL alone."),
]


class Drawing(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every way of drawing takes; what is left out is the model's own."""

    prompt: _PromptText
    negative_prompt: _PromptText | None = None
    prompt_2: _PromptText | None = None
    negative_prompt_2: _PromptText | None = None
    original_size: _Size | None = None
    crops_coords_top_left: _Corner | None = None
    target_size: _Size | None = None
    negative_original_size: _Size | None = None
    negative_crops_coords_top_left: _Corner | None = None
    negative_target_size: _Size | None = None
    height: _Side | None = None
    width: _Side | None = None
    steps: Annotated[int, _range(minimum=1)] | None = None
    guidance_scale: Annotated[float, _range(minimum=0, maximum=1000)] | None = None
    guidance_rescale: Annotated[float, _range(minimum=0, maximum=1)] = 0.0
    seed: Annotated[int, _range(minimum=0, maximum=2**64 - 1)] | None = None
    num_samples: Annotated[int, _range(minimum=1)] = 1
    scheduler: str | None = None
    eta: Annotated[float, _range(minimum=0, maximum=1)] = 0.0
    timestep_spacing: Annotated[str, _range(enum=["leading", "trailing", "linspace"])] | None = None
    use_karras_sigmas: bool | None = None
    use_exponential_sigmas: bool | None = None
    use_beta_sigmas: bool | None = None
    rescale_betas_zero_snr: bool | None = None
    guidance_start: Annotated[float, _range(minimum=0, exclusiveMaximum=1)] = 0.0
    guidance_end: Annotated[float, _range(exclusiveMinimum=0, maximum=1)] = 1.0
    deepcache_interval: Annotated[int, _range(minimum=1, maximum=2**32 - 1)] = 1
    deepcache_branch: Annotated[int, _range(minimum=0)] = 0
    clip_skip: Annotated[int, _range(minimum=0)] | None = None
    prompt_syntax: Annotated[str, _range(enum=["plain", "a1111"])] = "plain"
    vae_tiling: bool | None = None
    preview_every: Annotated[int, _range(minimum=0)] = 0
    preview: Literal["latents", "decode"] = "latents"


class ExecuteRequest(Drawing, kw_only=True):
    """`POST /execute`: a picture of a prompt."""


class Img2ImgRequest(Drawing, kw_only=True):
    """`POST /img2img`: a picture after another one."""

    image: _Picture
    strength: _Strength = 0.8


class InpaintRequest(Drawing, kw_only=True):
    """`POST /inpaint`: a part of a picture, white in the mask, is drawn anew, or what is beyond its sides, or both."""

    image: _Picture
    mask: _Picture | None = None
    outpaint: _Border | None = None
    strength: _Strength | None = None
    mask_blur: _Blur = 0.0
    padding_mask_crop: _Padding | None = None
    keep_unmasked: bool = True


class Lora(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An adapter."""

    path: str
    strength: float = 1.0


class JobFields(Drawing, kw_only=True, tag_field="operation"):
    """What the hive sends with every job beside what is drawn."""

    hive_id: str | None = None
    model: str | None = None
    worker_id: str | None = None
    # No model here takes any.
    loras: Annotated[list[Lora], _range(maxItems=0)] = []


class ImageGeneration(JobFields, kw_only=True, tag="image_generation"):
    """A picture of a prompt."""


class ImageTransform(JobFields, kw_only=True, tag="image_transform"):
    """A picture after another one, given as `input_image` or as `init_image`."""

    input_image: _Picture | None = None
    init_image: _Picture | None = None
    strength: _Strength = 0.8


class ImageInpaint(JobFields, kw_only=True, tag="image_inpaint"):
    """A part of a picture, white in the mask, is drawn anew, or what is beyond its sides, or both."""

    init_image: _Picture
    mask_image: _Picture | None = None
    outpaint: _Border | None = None
    strength: _Strength | None = None
    mask_blur: _Blur = 0.0
    padding_mask_crop: _Padding | None = None
    keep_unmasked: bool = True


JobRequest: TypeAlias = ImageGeneration | ImageTransform | ImageInpaint


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /cancel`."""

    job_id: str


BODIES: dict[str, Any] = {
    "execute": ExecuteRequest,
    "img2img": Img2ImgRequest,
    "inpaint": InpaintRequest,
    "job": JobRequest,
    "cancel": CancelRequest,
}
