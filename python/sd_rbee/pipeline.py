"""A loaded model and what can be done with it."""

import logging
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Literal, Unpack

from sd_rbee import images, initial_image, metadata, models, streaming, under_way
from sd_rbee.backend import native
from sd_rbee.checks import check_int, check_text, shorten
from sd_rbee.errors import (
    ChangedImageWarning,
    IneffectiveParameterWarning,
    InferenceError,
    InvalidParamsError,
    TruncatedPromptWarning,
)
from sd_rbee.events import Event
from sd_rbee.hub.progress import ProgressBar
from sd_rbee.result import GenerationResult, describe_truncation
from sd_rbee.signatures import takes_parameters
from sd_rbee.spec import ONLY_OF_XL, GenerationParameters, GenerationSpec

Engine = Literal["native", "candle"]
OnStep = Callable[[native.Step], object]
# What the engine takes at most.
MAX_THREADS = 1024

_log = logging.getLogger("sd_rbee")


class Pipeline:
    """A model in memory. Any thread may call it; one generation runs at a time and the next waits for it."""

    def __init__(self, engine: native.Pipeline, model: str, vae: str | None = None) -> None:
        self._native = engine
        self._model = model
        self._vae = vae
        self._of_thread = threading.local()

    @classmethod
    def load(
        cls,
        path_or_alias: str | os.PathLike[str] = models.DEFAULT,
        device: str = "auto",
        dtype: str = "auto",
        engine: Engine = "native",
        num_threads: int | None = None,
        *,
        vae: str | os.PathLike[str] | None = None,
        preview_vae: str | os.PathLike[str] | None = None,
        prediction_type: str | None = None,
        variant: str | None = None,
        download: bool = True,
        progress: bool = True,
    ) -> "Pipeline":
        """Loads a model.

        Args:
            path_or_alias: A folder in diffusers layout, a `.safetensors` file that holds a whole model, an alias, or
                `owner/name` of the Hugging Face hub, which may have `@revision` behind it; `models.resolve` has the
                rules.
            device: cpu, cuda:0, metal:0 …; auto takes the best one that there is.
            dtype: f32, f16, bf16 or int8; auto is the device's best. On the CPU it is what products are made of: f32,
                bf16, or int8 in the UNet's linear layers. auto takes bf16 there where the CPU multiplies it faster and
                the model is as wide as the published ones, whose pictures it changes by no more than an eye can miss,
                else f32.
            engine: `native` is ours, `candle` the reference that it is compared with, which takes only f32 on the CPU.
            num_threads: Threads that compute, 1 to 1024; None takes what SD_RBEE_THREADS says, else one for each core
                that the process may use. A picture has the same bits on any number.
            vae: An AutoencoderKL or AutoencoderTiny, as a folder in diffusers layout, a `.safetensors` file, an alias
                or an id of the hub, taken instead of the model's own.
            preview_vae: One, an AutoencoderTiny best, that decodes previews which would else be estimates.
            prediction_type: What the UNet predicts, `epsilon`, `v_prediction` or `sample`; None takes what the model
                says. A file of Stable Diffusion 2 may not say it, and then a norm of the UNet tells.
            variant: Which weights of a folder are preferred where a component has several, such as `fp16`. None prefers
                those without a variant, which are of full precision.
            download: Whether what is not at hand is downloaded from the hub, once: afterwards the network is not asked.
            progress: Whether a bar on stderr shows that.

        Raises:
            ModelNotFoundError: There is no such model, or no such folder.
            DownloadError: There is, on the hub, and it did not come.
            CheckpointError: The model's files cannot be used.
            DeviceError: The device is absent.
            InvalidParamsError: An argument that means nothing.
        """
        options = {"device": device, "dtype": dtype, "engine": engine}
        for field, value in options.items():
            check_text(field, value)
        for field, given in (("prediction_type", prediction_type), ("variant", variant)):
            if given is not None:
                check_text(field, given)
        check_threads(num_threads)
        on_progress = ProgressBar() if progress else None
        folder = models.resolve(path_or_alias, download=download, on_progress=on_progress)
        vae_path, preview_path = (
            None if path is None else models.component(field, path, download=download, on_progress=on_progress)
            for field, path in (("vae", vae), ("preview_vae", preview_vae))
        )
        loaded = native.Pipeline.load(
            str(folder),
            **options,
            num_threads=num_threads,
            vae=None if vae_path is None else str(vae_path),
            preview_vae=None if preview_path is None else str(preview_path),
            prediction_type=prediction_type,
            variant=variant,
        )
        chosen = " as auto" if dtype == "auto" else ""
        place = f"{loaded.device} in {loaded.dtype}{chosen}"
        _log.info("%s on %s, num_threads %d, engine %s", path_or_alias, place, loaded.num_threads, loaded.engine)
        for residency in loaded.residency:
            _log.info("%s", residency)
        return cls(loaded, models.name(path_or_alias), None if vae is None else models.name(vae))

    @takes_parameters
    def generate(
        self,
        prompt: str,
        *,
        on_step: OnStep | None = None,
        cancel: native.CancelToken | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> GenerationResult:
        """Draws pictures; what is None is the model's own default.

        Args:
            prompt: What to draw.
            on_step: Called with each finished unit of work on this thread; what it raises ends the generation.
            cancel: A token that ends the generation within a step when it is cancelled.
            **parameters: Those of `GenerationParameters`.

        Raises:
            InvalidParamsError: An argument of the wrong type or out of its range.
            CheckpointError: The model's configuration cannot be obeyed by the scheduler.
            OutOfMemoryError: The machine has not the memory that a picture of this size takes.
            Cancelled: `cancel` was set.
            InferenceError: The computation failed.
        """
        spec = GenerationSpec.of(prompt, **parameters)
        return self.run_and_warn(spec, check_callback(on_step), check_token(cancel))

    @takes_parameters
    def stream(
        self,
        prompt: str,
        *,
        cancel: native.CancelToken | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> Generator[Event, None, None]:
        """`generate` as an iterator: `Started`, `Progress` after each unit of work, `Complete` with the result.

        The work starts with the first event asked for. Closing the iterator, or leaving a `for` loop over it, cancels
        within a step. Errors are raised from the iterator, those of the arguments at once. What `generate` warns of is
        told by the result alone: there is no line of the caller's to point at.
        """
        spec = GenerationSpec.of(prompt, **parameters)
        token = check_token(cancel) or native.CancelToken()
        return streaming.stream(lambda *hooks: self._run(spec, *hooks), token, spec.num_images_per_prompt)

    @takes_parameters
    def astream(
        self,
        prompt: str,
        *,
        cancel: native.CancelToken | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> AsyncGenerator[Event, None]:
        """`stream` for `async for`; the event loop stays free."""
        spec = GenerationSpec.of(prompt, **parameters)
        token = check_token(cancel) or native.CancelToken()
        return streaming.astream(lambda *hooks: self._run(spec, *hooks), token, spec.num_images_per_prompt)

    @property
    def model(self) -> str:
        """The model's alias, its id of the hub, or the name of its folder or its file."""
        return self._model

    @property
    def vae(self) -> str | None:
        """Name of the folder or the file that the VAE is from, its alias or id of the hub; None for the model's own."""
        return self._vae

    @property
    def device(self) -> str:
        """Where it computes, such as cpu, cuda:0 or metal:0."""
        return self._native.device

    @property
    def dtype(self) -> str:
        """What it computes in: f32, f16, bf16 or int8; on the CPU, what products are made of."""
        return self._native.dtype

    @property
    def num_threads(self) -> int:
        """How many threads compute."""
        return self._native.num_threads

    @property
    def engine(self) -> str:
        """`native` or `candle`."""
        return self._native.engine

    @property
    def defaults(self) -> dict[str, Any]:
        """The model's own height, width, num_inference_steps, guidance_scale and scheduler."""
        return self._native.defaults

    @property
    def tasks(self) -> list[Literal["text-to-image", "image-to-image", "inpaint"]]:
        """What the model can do."""
        return self._native.tasks

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
        return self._native.size_multiple

    @property
    def schedulers(self) -> list[str]:
        """The schedulers that there are."""
        return native.Scheduler.names()

    @property
    def residency(self) -> list[native.Residency]:
        """Where each component's bytes are; a VAE's encoder has some once it has encoded an image."""
        return self._native.residency

    @property
    def native_pipeline(self) -> native.Pipeline:
        """The engine's own object, which has a method for each part of the model."""
        return self._native

    def __repr__(self) -> str:
        place = f"{self.device} in {self.dtype}, num_threads {self.num_threads}"
        return f"<Pipeline {self.model} on {place}, engine {self.engine}>"

    def run_and_warn(
        self, spec: GenerationSpec, on_step: OnStep | None, cancel: native.CancelToken | None
    ) -> GenerationResult:
        """`run` for a function that users call: warnings point at their line."""
        result = self._run(spec, on_step, cancel or native.CancelToken())
        for cut in result.truncations:
            warnings.warn(describe_truncation(cut), TruncatedPromptWarning, stacklevel=3)
        for text in result.warnings:
            category = ChangedImageWarning if text in result.image_changes else IneffectiveParameterWarning
            warnings.warn(text, category, stacklevel=3)
        return result

    def _run(self, spec: GenerationSpec, on_step: OnStep | None, cancel: native.CancelToken) -> GenerationResult:
        return self.run(spec, on_step=on_step, cancel=cancel)

    def lay_out(self, spec: GenerationSpec) -> initial_image.Layout | None:
        """The sizes of a generation that begins with an image; None for one that does not.

        Raises:
            InvalidParamsError: A size that cannot be drawn, or what has no meaning without an image or a mask.
        """
        own_size = self.defaults["width"], self.defaults["height"]
        return initial_image.lay_out(spec, self.size_multiple, own_size)

    def check(self, spec: GenerationSpec) -> None:
        """Finds out whether the model can do what is asked, without doing it; an image is not decoded.

        Raises:
            InvalidParamsError: A value out of its range.
        """
        layout, arguments = self.lay_out(spec), spec.arguments()
        if layout is not None:
            arguments |= {"height": None, "width": None, **layout.stand_in(self.size_multiple)}
        self._native.check(**arguments)

    def run(
        self,
        spec: GenerationSpec,
        *,
        on_step: OnStep | None,
        cancel: native.CancelToken,
        preview_every: int = 0,
        decode_previews: bool = False,
    ) -> GenerationResult:
        """`generate` of what was checked before, with previews; what `generate` warns of is in the result alone.

        Args:
            spec: What to draw.
            on_step: Called with each finished unit of work; its `preview` is the image so far where one is due.
            cancel: Ends the generation within a step when it is cancelled.
            preview_every: Steps of an image between two previews; 0 for none.
            decode_previews: Whether the VAE makes them, at the cost of a whole decode each; else the `preview_vae`
                does, or they are estimated, one pixel for a position of the latents.

        Raises:
            InvalidParamsError: A value out of its range.
            Cancelled: `cancel` was set.
            InferenceError: The computation failed.
        """
        if getattr(self._of_thread, "drawing", False):
            raise InferenceError("on_step drew with the pipeline that called it, which would wait for itself for ever")
        layout, arguments = self.lay_out(spec), spec.arguments()
        initial = None if layout is None else initial_image.prepare(spec, layout)
        if initial is not None:
            arguments |= {"height": None, "width": None, **initial.arguments}
        self._of_thread.drawing = True
        try:
            with under_way.until_exit(cancel):
                made = self._native.generate(
                    **arguments,
                    on_step=on_step,
                    cancel=cancel,
                    preview_every=preview_every,
                    decode_previews=decode_previews,
                )
        finally:
            self._of_thread.drawing = False
        for event in made.residency_events:
            _log.info("%s: %s", self.model, event)
        parameters = {
            "prompt": spec.prompt,
            "negative_prompt": spec.negative_prompt,
            **{name: value for name in ONLY_OF_XL if (value := getattr(spec, name)) is not None},
            **made.parameters,
            **({} if initial is None else initial.parameters),
            "model": self.model,
            "vae": self.vae,
            "engine": self.engine,
            "device": self.device,
            "dtype": self.dtype,
            "version": native.__version__,
        }
        pixels, seeds = made.images, made.seeds
        changes = [] if initial is None else initial.changes
        if initial is not None:
            pixels = [initial.finish(image) for image in pixels]
        recipes = [metadata.recipe(parameters, seed=seed, image=index) for index, seed in enumerate(seeds)]
        return GenerationResult(
            images=[images.to_pil(image, recipe) for image, recipe in zip(pixels, recipes, strict=True)],
            pixels=pixels,
            seeds=seeds,
            timings=made.timings,
            peak_memory=made.peak_memory,
            truncations=made.truncations,
            warnings=[*changes, *(() if layout is None else layout.warnings), *made.warnings],
            image_changes=changes,
            residency_events=made.residency_events,
            parameters=parameters,
        )


def check_threads(num_threads: int | None) -> int | None:
    """The number as `Pipeline.load` takes it."""
    return None if num_threads is None else check_int("num_threads", num_threads, MAX_THREADS + 1)


def check_callback(on_step: OnStep | None) -> OnStep | None:
    """The callback, if it can be called."""
    if on_step is not None and not callable(on_step):
        raise InvalidParamsError("on_step", shorten(on_step), "a callable of one argument, or None")
    return on_step


def check_token(cancel: native.CancelToken | None) -> native.CancelToken | None:
    """The token, if it is one."""
    if cancel is not None and not isinstance(cancel, native.CancelToken):
        raise InvalidParamsError("cancel", shorten(cancel), "a CancelToken, or None")
    return cancel
