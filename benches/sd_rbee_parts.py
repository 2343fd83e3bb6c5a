"""Parts as this package computes them, with its own networks or with candle's."""

from array import array
from typing import TYPE_CHECKING

from benches.engines import PROMPT, SEED, Engine
from benches.parts import GUIDED, LATENTS_SEED, TIMESTEP, Conditions, Part, Parts, Task, time_ids
from sd_rbee.backend import native

if TYPE_CHECKING:
    from typing_extensions import Buffer


def load(task: Task, engine: Engine) -> Parts:
    pipe = native.Pipeline.load(
        str(task.folder), device="cpu", dtype=engine.dtype, engine=engine.library, num_threads=task.threads
    )
    shape = pipe.latent_shape(pipe.defaults["height"], pipe.defaults["width"])
    latents = native.Generator(LATENTS_SEED).randn((1, *shape))
    sample = _stacked(*[latents] * GUIDED)
    # As in a picture, whose steps after the first find the text's keys and values.
    conditions = native.Conditioning(*_conditions(pipe))

    def draw() -> native.Image:
        made = pipe.generate(
            PROMPT, num_inference_steps=task.steps, guidance_scale=task.guidance, seed=SEED, scheduler="ddim", eta=0.0
        )
        return made.images[0]

    flops = pipe.flops
    return {
        "unet": Part(lambda: pipe.predict(sample, TIMESTEP, conditions), _bytes, GUIDED * flops["predict"]),
        "vae": Part(lambda: pipe.vae_decode(latents), _bytes, flops["vae_decode"]),
        "picture": Part(draw, _bytes),
    }


def _conditions(pipe: native.Pipeline) -> Conditions:
    embeddings = _stacked(pipe.encode_prompt(""), pipe.encode_prompt(PROMPT))
    without, with_prompt = pipe.pooled_prompt(""), pipe.pooled_prompt(PROMPT)
    if without is None or with_prompt is None:
        return Conditions(embeddings)
    ids = array("f", time_ids(pipe.defaults["height"])) * GUIDED
    shape = (GUIDED, len(ids) // GUIDED)
    return Conditions(embeddings, _stacked(without, with_prompt), memoryview(ids).cast("B").cast("f", shape=shape))


def _bytes(values: "Buffer") -> bytes:
    return memoryview(values).tobytes()


def _stacked(*tensors: native.Tensor) -> "Buffer":
    """Tensors of a batch of one as one batch."""
    shape = (len(tensors), *tensors[0].shape[1:])
    return memoryview(b"".join(map(_bytes, tensors))).cast("f", shape=shape)
