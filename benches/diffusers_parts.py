"""Parts as diffusers computes them."""

import importlib
from pathlib import Path
from typing import Any

from benches.engines import PROMPT, SEED
from benches.parts import GUIDED, LATENTS_SEED, TIMESTEP, Part, Parts

# Loaded by name, as type checkers see them only where they are installed.
torch: Any = importlib.import_module("torch")
diffusers: Any = importlib.import_module("diffusers")


class Pipeline:
    """diffusers' pipeline in f32, drawing with DDIM as the model's configuration has it."""

    def __init__(self, folder: Path) -> None:
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(
            folder, torch_dtype=torch.float32, local_files_only=True, safety_checker=None
        )
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        self.pipe: Any = pipe

    def draw(self, steps: int, guidance: float) -> Any:  # noqa: ANN401
        """A PIL image."""
        generator = torch.Generator().manual_seed(SEED)
        return self.pipe(
            PROMPT, num_inference_steps=steps, guidance_scale=guidance, eta=0.0, generator=generator
        ).images[0]


def load(folder: Path, steps: int, guidance: float, threads: int) -> Parts:
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    pipeline = Pipeline(folder)
    pipe = pipeline.pipe
    side = pipe.unet.config.sample_size
    shape = (1, pipe.unet.config.in_channels, side, side)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(LATENTS_SEED))
    sample = torch.cat([latents] * GUIDED)
    with_prompt, without = pipe.encode_prompt(PROMPT, "cpu", 1, True)
    embeddings = torch.cat([without, with_prompt])

    def step() -> Any:  # noqa: ANN401
        return pipe.unet(sample, torch.tensor(TIMESTEP), encoder_hidden_states=embeddings).sample

    return {
        "unet": Part(step, _bytes),
        "vae": Part(lambda: pipe.vae.decode(latents).sample, _bytes),
        "picture": Part(lambda: pipeline.draw(steps, guidance), lambda image: bytes(image.tobytes())),
    }


def _bytes(tensor: Any) -> bytes:  # noqa: ANN401
    return bytes(tensor.contiguous().numpy().tobytes())
