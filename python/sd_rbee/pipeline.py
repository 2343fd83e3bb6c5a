"""A loaded model and what can be done with it."""

import logging
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Literal, Unpack

from sd_rbee import images, metadata, models, streaming, under_way
from sd_rbee.backend import native
from sd_rbee.errors import IneffectiveParameterWarning, InferenceError, InvalidParamsError, TruncatedPromptWarning
from sd_rbee.events import Event
from sd_rbee.hub.progress import ProgressBar
from sd_rbee.result import GenerationResult, describe_truncation
from sd_rbee.spec import GenerationParameters, GenerationSpec, check_int, check_text, shorten

Engine = Literal["native", "candle"]
OnStep = Callable[[native.Step], object]
# What the engine takes at most.
MAX_THREADS = 1024

_log = logging.getLogger("sd_rbee")
_loaded: dict[tuple[str | int | None, ...], "Pipeline"] = {}
_loading = threading.Lock()


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
        download: bool = True,
        progress: bool = True,
    ) -> "Pipeline":
        """Loads a model.

        Args:
            path_or_alias: A folder in diffusers layout, an alias, or `owner/name` of the Hugging Face hub, which may
                have `@revision` behind it; `models.resolve` has the rules.
            device: cpu, cuda:0, metal:0 …; auto takes the best one that there is.
            dtype: f32, f16, bf16 or int8; auto is the device's best. On the CPU it is what products are made of: f32,
                bf16, or int8 in the UNet's linear layers. auto takes bf16 there where the CPU multiplies it faster and
                the model is as wide as the published ones, whose pictures it changes by no more than an eye can miss,
                else f32.
            engine: `native` is ours, `candle` the reference that it is compared with, which takes only f32 on the CPU.
            num_threads: Threads that compute, 1 to 1024; None takes what SD_RBEE_THREADS says, else one for each core
                that the process may use. A picture has the same bits on any number.
            vae: Folder of an AutoencoderKL or AutoencoderTiny in diffusers layout, taken instead of the model's own; an
                alias or an id of the hub as well.
            preview_vae: Folder or name of one, an AutoencoderTiny best, that decodes previews which would else be
                estimates.
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
        _check_threads(num_threads)
        on_progress = ProgressBar() if progress else None
        folder = models.resolve(path_or_alias, download=download, on_progress=on_progress)
        vae_folder, preview_folder = (
            None if path is None else models.component(field, path, download=download, on_progress=on_progress)
            for field, path in (("vae", vae), ("preview_vae", preview_vae))
        )
        loaded = native.Pipeline.load(
            str(folder),
            **options,
            num_threads=num_threads,
            vae=None if vae_folder is None else str(vae_folder),
            preview_vae=None if preview_folder is None else str(preview_folder),
        )
        chosen = " as auto" if dtype == "auto" else ""
        place = f"{loaded.device} in {loaded.dtype}{chosen}"
        _log.info("%s on %s, num_threads %d, engine %s", path_or_alias, place, loaded.num_threads, loaded.engine)
        for residency in loaded.residency:
            _log.info("%s", residency)
        return cls(loaded, models.name(path_or_alias), None if vae is None else models.name(vae))

    def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        num_images_per_prompt: int = 1,
        seed: int | None = None,
        scheduler: str | None = None,
        eta: float = 0.0,
        timestep_spacing: str | None = None,
        use_karras_sigmas: bool | None = None,
        use_exponential_sigmas: bool | None = None,
        use_beta_sigmas: bool | None = None,
        rescale_betas_zero_snr: bool | None = None,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        deepcache_interval: int = 1,
        deepcache_branch: int = 0,
        on_step: OnStep | None = None,
        cancel: native.CancelToken | None = None,
    ) -> GenerationResult:
        """Draws pictures; what is None is the model's own default.

        Args:
            prompt: What to draw.
            negative_prompt: What to keep away from.
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
            use_karras_sigmas: Whether the noise levels are those of Karras et al. This, the next two: for euler, heun,
                lms, unipc and both dpm++, and only one of them.
            use_exponential_sigmas: Whether the logarithms of the noise levels are evenly spaced.
            use_beta_sigmas: Whether the noise levels are quantiles of a beta distribution (Lee et al. 2024).
            rescale_betas_zero_snr: Whether the last training timestep has no signal at all (Lin et al. 2023), as some
                v-prediction models expect; not for heun, lms and pndm.
            guidance_start: Fraction of the steps before the first with guidance; a step without costs half.
            guidance_end: Fraction of the steps up to the last with guidance.
            deepcache_interval: The inner blocks of the UNet run at every so many steps alone (DeepCache); 1 is always.
            deepcache_branch: The skip connection inside of which blocks count as inner, 0 the outermost.
            on_step: Called with each finished unit of work on this thread; what it raises ends the generation.
            cancel: A token that ends the generation within a step when it is cancelled.

        Raises:
            InvalidParamsError: An argument of the wrong type or out of its range.
            CheckpointError: The model's configuration cannot be obeyed by the scheduler.
            OutOfMemoryError: The machine has not the memory that a picture of this size takes.
            Cancelled: `cancel` was set.
            InferenceError: The computation failed.
        """
        spec = GenerationSpec(
            prompt,
            negative_prompt=negative_prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            num_images_per_prompt=num_images_per_prompt,
            seed=seed,
            scheduler=scheduler,
            eta=eta,
            timestep_spacing=timestep_spacing,
            use_karras_sigmas=use_karras_sigmas,
            use_exponential_sigmas=use_exponential_sigmas,
            use_beta_sigmas=use_beta_sigmas,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            guidance_start=guidance_start,
            guidance_end=guidance_end,
            deepcache_interval=deepcache_interval,
            deepcache_branch=deepcache_branch,
        )
        return self._generate(spec, _check_callback(on_step), _check_token(cancel))

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
        spec = GenerationSpec(prompt, **parameters)
        token = _check_token(cancel) or native.CancelToken()
        return streaming.stream(lambda *hooks: self._run(spec, *hooks), token, spec.num_images_per_prompt)

    def astream(
        self,
        prompt: str,
        *,
        cancel: native.CancelToken | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> AsyncGenerator[Event, None]:
        """`stream` for `async for`; the event loop stays free."""
        spec = GenerationSpec(prompt, **parameters)
        token = _check_token(cancel) or native.CancelToken()
        return streaming.astream(lambda *hooks: self._run(spec, *hooks), token, spec.num_images_per_prompt)

    @property
    def model(self) -> str:
        """The model's alias, its id of the hub, or its folder's name."""
        return self._model

    @property
    def vae(self) -> str | None:
        """The name of the folder that the VAE is from, or its alias or id of the hub; None for the model's own."""
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
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
        return self._native.size_multiple

    @property
    def schedulers(self) -> list[str]:
        """The schedulers that there are."""
        return native.Scheduler.names()

    @property
    def residency(self) -> list[native.Residency]:
        """Where each component's bytes are."""
        return self._native.residency

    @property
    def native_pipeline(self) -> native.Pipeline:
        """The engine's own object, which has a method for each part of the model."""
        return self._native

    def __repr__(self) -> str:
        place = f"{self.device} in {self.dtype}, num_threads {self.num_threads}"
        return f"<Pipeline {self.model} on {place}, engine {self.engine}>"

    def _generate(
        self, spec: GenerationSpec, on_step: OnStep | None, cancel: native.CancelToken | None
    ) -> GenerationResult:
        """`_run` for a function that users call: warnings point at their line."""
        result = self._run(spec, on_step, cancel or native.CancelToken())
        for cut in result.truncations:
            warnings.warn(describe_truncation(cut), TruncatedPromptWarning, stacklevel=3)
        for text in result.warnings:
            warnings.warn(text, IneffectiveParameterWarning, stacklevel=3)
        return result

    def _run(self, spec: GenerationSpec, on_step: OnStep | None, cancel: native.CancelToken) -> GenerationResult:
        return self.run(spec, on_step=on_step, cancel=cancel)

    def check(self, spec: GenerationSpec) -> None:
        """Finds out whether the model can do what is asked, without doing it.

        Raises:
            InvalidParamsError: A value out of its range.
        """
        self._native.check(**spec.arguments())

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
        self._of_thread.drawing = True
        try:
            with under_way.until_exit(cancel):
                made = self._native.generate(
                    **spec.arguments(),
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
            **made.parameters,
            "model": self.model,
            "vae": self.vae,
            "engine": self.engine,
            "device": self.device,
            "dtype": self.dtype,
            "version": native.__version__,
        }
        pixels, seeds = made.images, made.seeds
        recipes = [metadata.recipe(parameters, seed=seed, image=index) for index, seed in enumerate(seeds)]
        return GenerationResult(
            images=[images.to_pil(image, recipe) for image, recipe in zip(pixels, recipes, strict=True)],
            pixels=pixels,
            seeds=seeds,
            timings=made.timings,
            peak_memory=made.peak_memory,
            truncations=made.truncations,
            warnings=made.warnings,
            residency_events=made.residency_events,
            parameters=parameters,
        )


def generate(
    prompt: str,
    *,
    model: str | os.PathLike[str] = models.DEFAULT,
    device: str = "auto",
    dtype: str = "auto",
    engine: Engine = "native",
    num_threads: int | None = None,
    vae: str | os.PathLike[str] | None = None,
    on_step: OnStep | None = None,
    cancel: native.CancelToken | None = None,
    **parameters: Unpack[GenerationParameters],
) -> GenerationResult:
    """Draws pictures with a model that stays loaded until the process ends.

    Arguments are `Pipeline.load`'s and `Pipeline.generate`'s.

    For a model whose memory is to be given back, use `Pipeline.load` and drop it.
    """
    # Before the seconds that loading may take.
    spec, on_step, cancel = GenerationSpec(prompt, **parameters), _check_callback(on_step), _check_token(cancel)
    return _shared(model, device, dtype, engine, num_threads, vae)._generate(spec, on_step, cancel)


def _shared(
    model: str | os.PathLike[str],
    device: str,
    dtype: str,
    engine: Engine,
    num_threads: int | None,
    vae: str | os.PathLike[str] | None,
) -> Pipeline:
    key = (
        str(models.resolve(model, download=True, on_progress=ProgressBar())),
        check_text("device", device),
        check_text("dtype", dtype),
        check_text("engine", engine),
        _check_threads(num_threads),
        None if vae is None else str(models.component("vae", vae, download=True, on_progress=ProgressBar())),
    )
    with _loading:
        if key not in _loaded:
            _loaded[key] = Pipeline.load(model, device, dtype, engine, num_threads, vae=vae)
        return _loaded[key]


def _check_threads(num_threads: int | None) -> int | None:
    return None if num_threads is None else check_int("num_threads", num_threads, MAX_THREADS + 1)


def _check_callback(on_step: OnStep | None) -> OnStep | None:
    if on_step is not None and not callable(on_step):
        raise InvalidParamsError("on_step", shorten(on_step), "a callable of one argument, or None")
    return on_step


def _check_token(cancel: native.CancelToken | None) -> native.CancelToken | None:
    if cancel is not None and not isinstance(cancel, native.CancelToken):
        raise InvalidParamsError("cancel", shorten(cancel), "a CancelToken, or None")
    return cancel
