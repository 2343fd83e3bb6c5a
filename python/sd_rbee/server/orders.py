"""From a request's body to an order for the engine, within the worker's limits."""

from collections.abc import Sequence

from sd_rbee.checks import shorten
from sd_rbee.engine import Order
from sd_rbee.errors import InvalidParamsError
from sd_rbee.initial_image import check_crop
from sd_rbee.input_images import InputImage
from sd_rbee.server.errors import UnsupportedOperationError, WrongModelError
from sd_rbee.server.input_images import read_image
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
from sd_rbee.spec import GenerationParameters, GenerationSpec

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
        tasks: What the model can do, of the engine's names.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        steps: int,
        job_steps: int,
        guidance_scale: float,
        sides: tuple[int, int],
        tasks: Sequence[str],
    ) -> None:
        self._settings = settings
        self.steps = steps
        self.job_steps = job_steps
        self.guidance_scale = guidance_scale
        self._sides = sides
        self._tasks = tasks

    def execute(self, request: ExecuteRequest) -> Order:
        """A picture of a prompt.

        Raises:
            InvalidParamsError: A value of the wrong type, out of its range, or above a limit; the field is the wire's.
            UnsupportedOperationError: The model only draws over pictures.
        """
        return self._order("text-to-image", request, self.steps)

    def img2img(self, request: Img2ImgRequest) -> Order:
        """A picture after another one.

        Raises:
            InvalidParamsError: As above, or an image that cannot be used.
            UnsupportedOperationError: The model cannot do it.
        """
        return self._order("image-to-image", request, self.steps, image=self._read("image", request.image))

    def inpaint(self, request: InpaintRequest) -> Order:
        """A picture with a part drawn anew.

        Raises:
            InvalidParamsError: As above, or an image or a mask that cannot be used.
            UnsupportedOperationError: The model cannot do it.
        """
        image = self._read("image", request.image)
        return self._order(
            "inpaint", request, self.steps, image=image, mask_image=self._mask("mask", request.mask, request)
        )

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
                return self._order("text-to-image", request, self.job_steps)
            case ImageTransform():
                names = [name for name in ("input_image", "init_image") if getattr(request, name) is not None]
                if len(names) != 1:
                    raise InvalidParamsError("input_image", f"{len(names)} images", "one, as input_image or init_image")
                image = self._read(names[0], getattr(request, names[0]))
                return self._order("image-to-image", request, self.job_steps, image=image)
            case ImageInpaint():
                image = self._read("init_image", request.init_image)
                mask = self._mask("mask_image", request.mask_image, request)
                return self._order("inpaint", request, self.job_steps, image=image, mask_image=mask)

    def _order(self, task: str, request: Drawing, steps: int, **images: InputImage | None) -> Order:
        limits = self._settings.limits
        steps = steps if request.steps is None else request.steps
        _check_range("steps", steps, 1, limits.max_steps)
        _check_range("num_samples", request.num_samples, 1, limits.max_batch)
        _check_range("preview_every", request.preview_every, 0, limits.max_steps)
        if isinstance(strength := getattr(request, "strength", None), float) and not 0 < strength <= 1:
            raise InvalidParamsError("strength", str(strength), "a number above 0 and up to 1")
        names = GenerationParameters.__annotations__.keys() & {*request.__struct_fields__}
        parameters = {name: getattr(request, name) for name in names} | {
            "num_inference_steps": steps,
            "guidance_scale": self.guidance_scale if request.guidance_scale is None else request.guidance_scale,
            "num_images_per_prompt": request.num_samples,
            **images,
        }
        try:
            spec = GenerationSpec(request.prompt, **parameters)
            check_crop(spec)
        except InvalidParamsError as error:
            raise on_the_wire(error) from None
        _check_prompts(spec)
        self._check_pixels(spec)
        if task not in self._tasks:
            raise UnsupportedOperationError(f"this worker's model cannot do {task}: it does {', '.join(self._tasks)}")
        return Order(spec, preview_every=request.preview_every, decode_previews=request.preview == "decode")

    def _read(self, field: str, text: str) -> InputImage:
        """A picture, to be laid on white where it is transparent: the operation says what is drawn anew."""
        return read_image(field, text, max_pixels=self._settings.limits.max_pixels).opaque()

    def _mask(self, field: str, text: str | None, request: InpaintRequest | ImageInpaint) -> InputImage | None:
        if text is None and request.outpaint is None:
            raise InvalidParamsError(field, "no mask and no outpaint", "one of them, or both")
        return None if text is None else self._read(field, text)

    def _check_pixels(self, spec: GenerationSpec) -> None:
        most, (height, width) = self._settings.limits.max_pixels, self._sides
        if spec.image is not None:
            left, top, right, bottom = spec.outpaint or (0, 0, 0, 0)
            whole = spec.image.height + top + bottom, spec.image.width + left + right
            if whole[0] * whole[1] > most:
                allowed = f"at most {most} pixels together with the image on this worker"
                raise InvalidParamsError("outpaint", f"{whole[0]} x {whole[1]}", allowed)
            if spec.padding_mask_crop is None:
                height, width = whole
        height, width = spec.height or height, spec.width or width
        if height * width > most:
            allowed = f"height times width at most {most} on this worker"
            raise InvalidParamsError("height" if height > width else "width", f"{height} x {width}", allowed)

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
    for field in ("prompt", "negative_prompt", "prompt_2", "negative_prompt_2"):
        size = len((getattr(spec, field) or "").encode())
        if size > _MAX_PROMPT_BYTES:
            raise InvalidParamsError(field, f"{size} bytes", f"at most {_MAX_PROMPT_BYTES} bytes")


def on_the_wire(error: InvalidParamsError) -> InvalidParamsError:
    """The error with its field called as in requests."""
    return InvalidParamsError(_WIRE_NAMES.get(error.field, error.field), error.given, error.allowed)
