"""Bodies of requests; an unknown field is an error that names it."""

from typing import Any, Literal, TypeAlias

import msgspec


class Drawing(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every way of drawing takes; what is left out is the model's own."""

    prompt: str
    negative_prompt: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    num_samples: int = 1
    scheduler: str | None = None
    eta: float = 0.0
    timestep_spacing: str | None = None
    use_karras_sigmas: bool | None = None
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    deepcache_interval: int = 1
    deepcache_branch: int = 0
    preview_every: int = 0
    preview: Literal["latents", "decode"] = "latents"


class ExecuteRequest(Drawing, kw_only=True):
    """`POST /execute`: a picture of a prompt."""

    height: int | None = None
    width: int | None = None


class Img2ImgRequest(Drawing, kw_only=True):
    """`POST /img2img`: a picture after another one."""

    image: str
    strength: float = 0.8


class InpaintRequest(Drawing, kw_only=True):
    """`POST /inpaint`: a picture with a part drawn anew; white in the mask is what is drawn."""

    image: str
    mask: str
    strength: float = 1.0


class Lora(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An adapter."""

    path: str
    strength: float = 1.0


class JobFields(Drawing, kw_only=True, tag_field="operation"):
    """What the hive sends with every job beside what is drawn."""

    hive_id: str | None = None
    model: str | None = None
    worker_id: str | None = None
    loras: list[Lora] = []


class ImageGeneration(JobFields, kw_only=True, tag="image_generation"):
    """A picture of a prompt."""

    height: int | None = None
    width: int | None = None


class ImageTransform(JobFields, kw_only=True, tag="image_transform"):
    """A picture after another one, given as `input_image` or as `init_image`."""

    input_image: str | None = None
    init_image: str | None = None
    strength: float = 0.8


class ImageInpaint(JobFields, kw_only=True, tag="image_inpaint"):
    """A picture with a part drawn anew; white in the mask is what is drawn."""

    init_image: str
    mask_image: str


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
