"""From a request's body to an order for the engine, within the worker's limits."""

from typing import NoReturn

from sd_rbee.checks import shorten
from sd_rbee.engine import Order
from sd_rbee.errors import InvalidParamsError
from sd_rbee.server.errors import UnsupportedOperationError, WrongModelError
from sd_rbee.server.input_images import decode_image
from sd_rbee.server.requests import (
    Drawing,
    ExecuteRequest,
    ImageGeneration,
    ImageInpaint,
    ImageTransform,
    Img2ImgRequest,
    InpaintRequest,
    JobFields,
    JobRequest,
)
from sd_rbee.settings import WorkerSettings
from sd_rbee.spec import GenerationSpec

# The engine's own limit, known here because a job that cannot be done is better refused than queued.
_MAX_PROMPT_BYTES = 256 << 10
# The engine's names of the fields that the wire calls otherwise.
_WIRE_NAMES = {"num_inference_steps": "steps", "num_images_per_prompt": "num_samples"}


class Orders:
    """Turns requests into orders.

    Args:
        settings: The worker's own.
        steps: Sampling steps of a request that names none, on the seed's endpoints.
        job_steps: The same of a job.
        guidance_scale: Guidance of a request that names none.
        sides: Height and width of a request that names neither.
    """

    def __init__(
        self, settings: WorkerSettings, *, steps: int, job_steps: int, guidance_scale: float, sides: tuple[int, int]
    ) -> None:
        self._settings = settings
        self.steps = steps
        self.job_steps = job_steps
        self.guidance_scale = guidance_scale
        self._sides = sides

    def execute(self, request: ExecuteRequest) -> Order:
        """A picture of a prompt.

        Raises:
            InvalidParamsError: A value of the wrong type, out of its range, or above a limit; the field is the wire's.
        """
        return self._order(request, self.steps, request.height, request.width)

    def img2img(self, request: Img2ImgRequest) -> NoReturn:
        """A picture after another one, which no model here can do yet.

        Raises:
            InvalidParamsError: The image cannot be used.
            UnsupportedOperationError: It could.
        """
        _check_strength(request.strength)
        self._refuse("img2img", request, image=request.image)

    def inpaint(self, request: InpaintRequest) -> NoReturn:
        """A picture with a part drawn anew, which no model here can do yet.

        Raises:
            InvalidParamsError: The image or the mask cannot be used.
            UnsupportedOperationError: They could.
        """
        _check_strength(request.strength)
        self._refuse("inpaint", request, image=request.image, mask=request.mask)

    def job(self, request: JobRequest) -> Order:
        """Any of them, as a hive asks.

        Raises:
            InvalidParamsError: As above.
            WrongModelError: The hive wants a model or a worker that this is not.
            UnsupportedOperationError: The model cannot do it.
        """
        self._check_addressee(request)
        match request:
            case ImageGeneration():
                return self._order(request, self.job_steps, request.height, request.width)
            case ImageTransform():
                given = [image for image in (request.input_image, request.init_image) if image is not None]
                if len(given) != 1:
                    raise InvalidParamsError("input_image", f"{len(given)} images", "one, as input_image or init_image")
                _check_strength(request.strength)
                field = "input_image" if request.init_image is None else "init_image"
                self._refuse("image_transform", request, **{field: given[0]})
            case ImageInpaint():
                images = {"init_image": request.init_image, "mask_image": request.mask_image}
                self._refuse("image_inpaint", request, **images)

    def _order(self, request: Drawing, steps: int, height: int | None, width: int | None) -> Order:
        limits = self._settings.limits
        steps = steps if request.steps is None else request.steps
        _check_range("steps", steps, 1, limits.max_steps)
        _check_range("num_samples", request.num_samples, 1, limits.max_batch)
        _check_range("preview_every", request.preview_every, 0, limits.max_steps)
        try:
            spec = GenerationSpec(
                request.prompt,
                negative_prompt=request.negative_prompt,
                height=height,
                width=width,
                num_inference_steps=steps,
                guidance_scale=self.guidance_scale if request.guidance_scale is None else request.guidance_scale,
                guidance_rescale=request.guidance_rescale,
                num_images_per_prompt=request.num_samples,
                seed=request.seed,
                scheduler=request.scheduler,
                eta=request.eta,
                timestep_spacing=request.timestep_spacing,
                use_karras_sigmas=request.use_karras_sigmas,
                use_exponential_sigmas=request.use_exponential_sigmas,
                use_beta_sigmas=request.use_beta_sigmas,
                rescale_betas_zero_snr=request.rescale_betas_zero_snr,
                guidance_start=request.guidance_start,
                guidance_end=request.guidance_end,
                deepcache_interval=request.deepcache_interval,
                deepcache_branch=request.deepcache_branch,
            )
        except InvalidParamsError as error:
            raise on_the_wire(error) from None
        _check_prompts(spec)
        sides = (spec.height or self._sides[0], spec.width or self._sides[1])
        if sides[0] * sides[1] > limits.max_pixels:
            allowed = f"height times width at most {limits.max_pixels} on this worker"
            raise InvalidParamsError("height" if sides[0] > sides[1] else "width", f"{sides[0]} x {sides[1]}", allowed)
        return Order(spec, preview_every=request.preview_every, decode_previews=request.preview == "decode")

    def _refuse(self, operation: str, request: Drawing, **images: str) -> NoReturn:
        self._order(request, self.steps, None, None)
        for field, image in images.items():
            decode_image(field, image, max_pixels=self._settings.limits.max_pixels)
        raise UnsupportedOperationError(f"{operation}: this worker's model only draws from a prompt")

    def _check_addressee(self, request: JobFields) -> None:
        settings = self._settings
        # The operator's own word for it is taken but not shown, since it may be a path.
        shown = {settings.model_ref, settings.model_version}
        if request.model is not None and request.model not in {settings.model, *shown}:
            raise WrongModelError("model", shorten(request.model), ", ".join(sorted(shown)))
        if request.worker_id is not None and request.worker_id != settings.worker_id:
            raise WrongModelError("worker_id", shorten(request.worker_id), settings.worker_id)
        if request.loras:
            raise InvalidParamsError("loras", f"{len(request.loras)} of them", "none: this worker has no adapters")


def _check_range(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidParamsError(field, shorten(value), f"{least} to {most} on this worker")


def _check_prompts(spec: GenerationSpec) -> None:
    for field, text in (("prompt", spec.prompt), ("negative_prompt", spec.negative_prompt or "")):
        size = len(text.encode())
        if size > _MAX_PROMPT_BYTES:
            raise InvalidParamsError(field, f"{size} bytes", f"at most {_MAX_PROMPT_BYTES} bytes")


def _check_strength(strength: float) -> None:
    if not 0 < strength <= 1:
        raise InvalidParamsError("strength", str(strength), "a number above 0 and up to 1")


def on_the_wire(error: InvalidParamsError) -> InvalidParamsError:
    """The error with its field called as in requests."""
    return InvalidParamsError(_WIRE_NAMES.get(error.field, error.field), error.given, error.allowed)
