"""Parts as diffusers computes them."""

import importlib
from typing import Any

from benches.engines import PROMPT, SEED, Dtype
from benches.parts import GUIDED, LATENTS_SEED, TIMESTEP, Part, Parts, Task

# Loaded by name, as type checkers see them only where they are installed.
torch: Any = importlib.import_module("torch")
diffusers: Any = importlib.import_module("diffusers")


def pipeline(task: Task, dtype: Dtype) -> Any:  # noqa: ANN401
    """The pipeline of diffusers, drawing with DDIM as the model's configuration has it.

    Channels last is what its convolutions are the fastest in.
    """
    torch.set_num_threads(task.threads)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        task.folder,
        torch_dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype],
        local_files_only=True,
        safety_checker=None,
    )
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    return pipe


def draw(pipe: Any, task: Task) -> Any:  # noqa: ANN401
    """A PIL image."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.inference_mode():
        return pipe(
            PROMPT, num_inference_steps=task.steps, guidance_scale=task.guidance, eta=0.0, generator=generator
        ).images[0]


def load(task: Task, dtype: Dtype) -> Parts:
    pipe = pipeline(task, dtype)
    side = pipe.unet.config.sample_size
    shape = (1, pipe.unet.config.in_channels, side, side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(LATENTS_SEED))
    latents = latents.to(pipe.unet.dtype).contiguous(memory_format=torch.channels_last)
    sample = torch.cat([latents] * GUIDED)
    with torch.inference_mode():
        with_prompt, without = pipe.encode_prompt(PROMPT, "cpu", 1, True)
        embeddings = torch.cat([without, with_prompt])

    def step() -> Any:  # noqa: ANN401
        with torch.inference_mode():
            return pipe.unet(sample, torch.tensor(TIMESTEP), encoder_hidden_states=embeddings).sample

    def decode() -> Any:  # noqa: ANN401
        with torch.inference_mode():
            return pipe.vae.decode(latents).sample

    return {
        "unet": Part(step, _bytes),
        "vae": Part(decode, _bytes),
        "picture": Part(lambda: draw(pipe, task), lambda image: bytes(image.tobytes())),
    }


def _bytes(tensor: Any) -> bytes:  # noqa: ANN401
    return bytes(tensor.float().contiguous().numpy().tobytes())
