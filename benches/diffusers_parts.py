"""Parts as diffusers computes them."""

import importlib
import json
from pathlib import Path
from typing import Any

from benches.engines import PROMPT, SEED, Dtype
from benches.parts import GUIDED, LATENTS_SEED, TIMESTEP, Conditions, Part, Parts, Task, time_ids

# Loaded by name, as type checkers see them only where they are installed.
torch: Any = importlib.import_module("torch")
diffusers: Any = importlib.import_module("diffusers")


def pipeline(task: Task, dtype: Dtype) -> Any:  # noqa: ANN401
    """The pipeline of diffusers, drawing with DDIM as the model's configuration has it.

    Channels last is what its convolutions are the fastest in.
    """
    torch.set_num_threads(task.threads)
    pipe = from_folder(task.folder, {"f32": torch.float32, "bf16": torch.bfloat16}[dtype])
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    return pipe


def from_folder(folder: Path, torch_dtype: Any) -> Any:  # noqa: ANN401
    """The pipeline of the class that the folder names, without a checker of what it draws."""
    named = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    unwanted = {"safety_checker": None} if "safety_checker" in named else {}
    return diffusers.DiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch_dtype, local_files_only=True, **unwanted
    )


def conditions(pipe: Any) -> Conditions:  # noqa: ANN401
    """Those of no prompt and of the prompt; the empty one is encoded too where a pipeline would take zeros."""
    with torch.inference_mode():
        with_prompt, without, *pooled = pipe.encode_prompt(
            PROMPT, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=""
        )
        embeddings = torch.cat([without, with_prompt])
        if not pooled:
            return Conditions(embeddings)
        ids = torch.tensor([time_ids(pipe.unet.config.sample_size * pipe.vae_scale_factor)] * GUIDED)
        return Conditions(embeddings, torch.cat(pooled[::-1]), ids.to(embeddings.dtype))


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
    embeddings, pooled, ids = conditions(pipe)
    added = None if pooled is None else {"text_embeds": pooled, "time_ids": ids}

    def step() -> Any:  # noqa: ANN401
        with torch.inference_mode():
            timestep = torch.tensor(TIMESTEP)
            return pipe.unet(sample, timestep, encoder_hidden_states=embeddings, added_cond_kwargs=added).sample

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
