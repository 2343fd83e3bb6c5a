"""Models that stay loaded, for those who only want a picture."""

import os
import threading
from typing import Unpack

from sd_rbee import models
from sd_rbee.backend import native
from sd_rbee.checks import check_text
from sd_rbee.hub.progress import ProgressBar
from sd_rbee.pipeline import Engine, OnStep, Pipeline, check_callback, check_threads, check_token
from sd_rbee.result import GenerationResult
from sd_rbee.signatures import takes_parameters
from sd_rbee.spec import GenerationParameters, GenerationSpec

_loaded: dict[tuple[str | int | None, ...], Pipeline] = {}
_loading = threading.Lock()


@takes_parameters
def generate(
    prompt: str,
    *,
    model: str | os.PathLike[str] = models.DEFAULT,
    device: str = "auto",
    dtype: str = "auto",
    engine: Engine = "native",
    num_threads: int | None = None,
    vae: str | os.PathLike[str] | None = None,
    prediction_type: str | None = None,
    variant: str | None = None,
    on_step: OnStep | None = None,
    cancel: native.CancelToken | None = None,
    **parameters: Unpack[GenerationParameters],
) -> GenerationResult:
    """Draws pictures with a model that stays loaded until the process ends.

    For a model whose memory is to be given back, use `Pipeline.load` and drop it.

    Args:
        prompt: What to draw.
        model: This and the next seven are those of `Pipeline.load`: an alias, a folder, or a file of a whole model.
        device: Where to compute.
        dtype: What to compute in.
        engine: `native`, or `candle` to compare with.
        num_threads: Threads that compute.
        vae: Folder or file of a VAE to take instead of the model's own.
        prediction_type: What the UNet predicts, if the model says it wrongly.
        variant: Which of a folder's weights to prefer.
        on_step: Called with each finished unit of work on this thread; what it raises ends the generation.
        cancel: A token that ends the generation within a step when it is cancelled.
        **parameters: Those of `GenerationParameters`.

    Raises:
        SdRbeeError: What `Pipeline.load` and `Pipeline.generate` raise.
    """
    # Before the seconds that loading may take.
    spec, on_step, cancel = GenerationSpec.of(prompt, **parameters), check_callback(on_step), check_token(cancel)
    pipeline = _shared(model, device, dtype, engine, num_threads, vae, prediction_type, variant)
    return pipeline.run_and_warn(spec, on_step, cancel)


def _shared(
    model: str | os.PathLike[str],
    device: str,
    dtype: str,
    engine: Engine,
    num_threads: int | None,
    vae: str | os.PathLike[str] | None,
    prediction_type: str | None,
    variant: str | None,
) -> Pipeline:
    key = (
        str(models.resolve(model, download=True, on_progress=ProgressBar())),
        check_text("device", device),
        check_text("dtype", dtype),
        check_text("engine", engine),
        check_threads(num_threads),
        None if vae is None else str(models.component("vae", vae, download=True, on_progress=ProgressBar())),
        None if prediction_type is None else check_text("prediction_type", prediction_type),
        None if variant is None else check_text("variant", variant),
    )
    with _loading:
        if key not in _loaded:
            _loaded[key] = Pipeline.load(
                model, device, dtype, engine, num_threads, vae=vae, prediction_type=prediction_type, variant=variant
            )
        return _loaded[key]
