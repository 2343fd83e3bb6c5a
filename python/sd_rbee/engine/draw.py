"""One job drawn by the model, whatever comes of it."""

import logging
import time

from sd_rbee import images
from sd_rbee.backend import native
from sd_rbee.engine.errors import DeadlineError
from sd_rbee.engine.events import Cancelled, Complete, Failed, Preview
from sd_rbee.engine.job import Job
from sd_rbee.errors import Cancelled as CancelledError
from sd_rbee.errors import InferenceError, InvalidParamsError
from sd_rbee.events import Progress
from sd_rbee.pipeline import Pipeline
from sd_rbee.spec import GenerationSpec

_log = logging.getLogger("sd_rbee.engine")


def draw(job: Job, pipeline: Pipeline) -> Complete | Failed | Cancelled:
    """Draws on this thread, tells the job of each step, and returns how it ended; nothing is raised."""
    begun = time.monotonic()

    def on_step(step: native.Step) -> None:
        progress = Progress.of(step)
        job.tell(progress)
        if step.preview is not None:
            job.tell(Preview(progress, images.encode_preview(step.preview)))
        _check_deadline(job)

    order = job.order
    try:
        _check_deadline(job)
        result = pipeline.run(
            order.spec,
            on_step=on_step,
            cancel=job.cancel,
            preview_every=order.preview_every,
            decode_previews=order.decode_previews,
        )
        pngs = [images.encode(picture, "PNG") for picture in result.images]
    except CancelledError:
        return Cancelled()
    except BaseException as error:
        # Whatever it is, the next job deserves its turn.
        trace = None if isinstance(error, InvalidParamsError | DeadlineError) else error
        _log.error("%s: %s", job.id, type(error).__name__, exc_info=trace, extra={"job_id": job.id})
        if not isinstance(error, Exception):
            # A panic that the bindings let through; who hears of it is to be able to raise it.
            error = InferenceError(type(error).__name__)
        # The frames hold pictures, and the job is kept.
        return Failed(error.with_traceback(None))
    return Complete(pngs, result.seeds, time.monotonic() - begun, result.notes)


def amount_of_work(spec: GenerationSpec, pipeline: Pipeline) -> float:
    """What a generation's time grows with: pixels, calls of the network, images."""
    defaults = pipeline.defaults
    guidance = defaults["guidance_scale"] if spec.guidance_scale is None else spec.guidance_scale
    steps = spec.num_inference_steps or defaults["num_inference_steps"]
    layout = pipeline.lay_out(spec)
    width, height = (defaults["width"], defaults["height"]) if layout is None else layout.drawing
    pixels = (spec.height or height) * (spec.width or width)
    taken = max(1, int(steps * (1 if spec.strength is None else spec.strength)))
    # Heun's method takes two calls for a step.
    calls = taken * (2 if (spec.scheduler or defaults["scheduler"]) == "heun" else 1)
    samples = 1 + (spec.guidance_end - spec.guidance_start if guidance > 1 else 0)
    return float(pixels * calls * samples * spec.num_images_per_prompt)


def _check_deadline(job: Job) -> None:
    if job.late:
        raise DeadlineError("the deadline has passed")
