"""How fast this machine is: its peak, and what a step and a decode of a model take of it."""

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from sd_rbee import models
from sd_rbee.backend import native
from sd_rbee.errors import InvalidParamsError

if TYPE_CHECKING:
    from typing_extensions import Buffer

DTYPES = ("f32", "bf16")
# A guided step is a batch of two: without and with the prompt.
_GUIDED = 2
_TIMESTEP = 500.0
_MAX_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes.

    Attributes:
        instruction_set: What the CPU's kernels are made of.
        num_threads: Threads that compute.
        peak_flops: Floating-point operations a second at most, by dtype, measured.
    """

    instruction_set: str
    num_threads: int
    peak_flops: dict[str, float]


@dataclass(frozen=True, slots=True)
class Timing:
    """One part of a model.

    Attributes:
        seconds: Of one call, the best of all.
        calls: How many were timed; the first call of all is not where there are more.
        share: Of the machine's peak in the model's dtype, counting what the plain algorithms multiply, so that it may
            be above 1; None on devices whose peak was not measured.
    """

    seconds: float
    calls: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model.

    Attributes:
        model: Alias, folder or published shape.
        is_random: Whether its weights are random.
        device: cpu, cuda:0 …
        dtype: What it multiplied.
        height: Of a picture, in pixels.
        width: Of a picture, in pixels.
        load_seconds: Until it was in memory.
        step: One guided step of sampling.
        decode: From latents to pixels.
        weights_bytes: In memory, as the kernels hold them.
        peak_bytes: Most memory that the process has had until now; None where the system does not tell.
    """

    model: str
    is_random: bool
    device: str
    dtype: str
    height: int
    width: int
    load_seconds: float
    step: Timing
    decode: Timing
    weights_bytes: int
    peak_bytes: int | None


def default_models() -> list[str]:
    """The models at hand, and one of the published shapes, which are what a machine is judged by."""
    return [*models.available(), native.Pipeline.shapes()[0]]


def probe(seconds: float = 1.0, *, num_threads: int | None = None) -> Machine:
    """Measures the machine's peak.

    Args:
        seconds: For each dtype, 0 to 60.
        num_threads: None takes SD_RBEE_THREADS, else as many as the process may use.

    Raises:
        InvalidParamsError: An argument out of its range.
    """
    peaks = {dtype: native.peak_flops(dtype, seconds, num_threads=num_threads) for dtype in DTYPES}
    return Machine(native.instruction_set(), native.num_threads(num_threads), peaks)


def measure(
    model: str,
    machine: Machine,
    *,
    device: str = "auto",
    dtype: str = "auto",
    seconds: float = 5.0,
) -> Measurement:
    """Loads a model and times a guided step and a decode at the model's own size.

    Args:
        model: An alias, a published shape such as v1-5, which gets random weights, or a folder.
        machine: What `probe` found; its number of threads is taken.
        device: As for `Pipeline.load`.
        dtype: As for `Pipeline.load`.
        seconds: To time each part for, 0 to 3600: more calls begin until then.

    Raises:
        ModelNotFoundError: There is no such model.
        CheckpointError: The model's files cannot be used.
        DeviceError: The device is absent.
        InvalidParamsError: An argument out of its range.
    """
    if not 0 <= seconds <= _MAX_SECONDS:
        raise InvalidParamsError("seconds", str(seconds), f"0 to {_MAX_SECONDS:.0f}")
    begin = perf_counter()
    is_random = model not in models.available() and model in native.Pipeline.shapes()
    if is_random:
        pipe = native.Pipeline.random(model, device=device, dtype=dtype, num_threads=machine.num_threads)
    else:
        folder = str(models.resolve(model))
        pipe = native.Pipeline.load(folder, device=device, dtype=dtype, num_threads=machine.num_threads)
    load_seconds = perf_counter() - begin
    height, width = pipe.defaults["height"], pipe.defaults["width"]
    generator = native.Generator(0)
    latents = generator.randn((1, *pipe.latent_shape(height, width)))
    sample = generator.randn((_GUIDED, *pipe.sample_shape(height, width)))
    conditions = _conditions(pipe)
    peak = machine.peak_flops.get(pipe.dtype) if pipe.device == "cpu" else None
    flops = pipe.flops

    def timing(call: Callable[[], object], operations: float) -> Timing:
        best, calls = _best(call, seconds)
        return Timing(best, calls, operations / best / peak if peak else None)

    return Measurement(
        model=model,
        is_random=is_random,
        device=pipe.device,
        dtype=pipe.dtype,
        height=height,
        width=width,
        load_seconds=load_seconds,
        step=timing(lambda: pipe.predict(sample, _TIMESTEP, conditions), _GUIDED * flops["predict"]),
        decode=timing(lambda: pipe.vae_decode(latents), flops["vae_decode"]),
        weights_bytes=sum(residency.bytes for residency in pipe.residency),
        peak_bytes=_peak_bytes(),
    )


def _best(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Seconds of the fastest call, and how many counted: the first is to warm up, unless it took all of the time."""
    begin = perf_counter()
    call()
    first = perf_counter() - begin
    if first >= seconds:
        return first, 1
    best, calls = first, 0
    while calls == 0 or perf_counter() - begin < seconds:
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
        calls += 1
    return best, calls


def _conditions(pipe: native.Pipeline) -> native.Conditioning:
    """Of no prompt; kept from step to step, as in a picture."""
    embeddings, pooled = _repeated(pipe.encode_prompt("")), pipe.pooled_prompt("")
    if pooled is None:
        return native.Conditioning(embeddings)
    size = (pipe.defaults["height"], pipe.defaults["width"])
    time_ids = memoryview(array("f", (*size, 0, 0, *size) * _GUIDED)).cast("B").cast("f", shape=(_GUIDED, 6))
    return native.Conditioning(embeddings, _repeated(pooled), time_ids)


def _repeated(tensor: native.Tensor) -> "Buffer":
    """A batch of one as one of two."""
    values = array("f", memoryview(tensor).tobytes() * _GUIDED)
    return memoryview(values).cast("B").cast("f", shape=(_GUIDED, *tensor.shape[1:]))


def _peak_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    # Kilobytes, but bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
