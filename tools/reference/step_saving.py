"""diffusers' UNet with guidance on a part of the steps and with DeepCache.

DeepCache is that of its authors' `DeepCacheSDHelper`, which wraps the UNet's modules: each gives its last output again
on the steps that skip it.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from diffusers import DiffusionPipeline

Forward = Callable[..., Any]
Output: TypeAlias = "torch.Tensor | tuple[Output, ...]"


class StepSaving:
    """Takes the place of the `forward` of a UNet for one call of its pipeline.

    Args:
        pipeline: diffusers' `StableDiffusionPipeline` or another that takes a UNet so, with its scheduler.
        is_guided: Whether there is guidance at all, which makes the second half of each batch the conditional one.
        guidance: Start and end of the steps that have guidance, as fractions.
        interval: DeepCache's `cache_interval`.
        branch: DeepCache's `cache_branch_id`.
    """

    def __init__(
        self, pipeline: DiffusionPipeline, *, is_guided: bool, guidance: tuple[float, float], interval: int, branch: int
    ) -> None:
        self._pipeline = pipeline
        self._unet = unet = pipeline.unet
        self._is_guided = is_guided
        self._guidance = guidance
        self._interval = interval
        self._calls = 0
        self._batch = 0
        self._key = True
        self._kept: dict[tuple[str, int, int], Output] = {}
        self._wrapped: list[tuple[torch.nn.Module, Forward]] = []
        # The helper divides by 3, the skip connections of a level with two layers; so many has each here.
        self._block, self._layer = 0, branch
        for block in unet.down_blocks:
            if self._layer <= len(block.resnets):
                break
            self._layer -= len(block.resnets) + 1
            self._block += 1

    def __enter__(self) -> None:
        forward: Forward = self._unet.forward
        if self._interval > 1:
            self._wrap_blocks()
        self._replace(self._unet, functools.partial(self._call, forward))

    def __exit__(self, *_: object) -> None:
        for module, forward in self._wrapped:
            module.forward = forward

    def _call(
        self, forward: Forward, sample: torch.Tensor, timestep: torch.Tensor, **kwargs: torch.Tensor
    ) -> tuple[torch.Tensor]:
        index, steps = self._calls, self._pipeline.num_timesteps
        self._calls += 1
        start, end = self._guidance
        alone = self._is_guided and (index / steps < start or (index + 1) / steps > end)
        if alone:
            half = len(sample) // 2
            sample = sample[half:]
            kwargs["encoder_hidden_states"] = kwargs["encoder_hidden_states"][half:]
        self._key = index % self._interval == 0 or len(sample) > self._batch
        self._batch = len(sample)
        output = forward(sample, timestep, **kwargs)
        # Guidance between two equal outputs is none.
        return (torch.cat([output[0]] * 2),) if alone else output

    def _replace(self, module: torch.nn.Module, forward: Forward) -> None:
        self._wrapped.append((module, module.forward))
        module.forward = forward

    def _skips(self, way: str, block: int, layer: int) -> bool:
        if self._key:
            return False
        if way == "mid" or block > self._block:
            return True
        if block < self._block:
            return False
        return layer >= self._layer if way == "down" else layer > self._layer

    def _wrap(self, module: torch.nn.Module, way: str, name: str, block: int, layer: int) -> None:
        forward, key = module.forward, (f"{way} {name}", block, layer)

        def wrapped(*args: object, **kwargs: object) -> Output:
            if not self._skips(way, block, layer):
                self._kept[key] = forward(*args, **kwargs)
            self._kept[key] = _last(self._kept[key], self._batch)
            return self._kept[key]

        self._replace(module, wrapped)

    def _wrap_blocks(self) -> None:
        for index, block in enumerate(self._unet.down_blocks):
            self._wrap_layers(block, "down", index, range(len(block.resnets)))
            for downsampler in block.downsamplers or []:
                self._wrap(downsampler, "down", "downsampler", index, len(block.resnets))
            self._wrap(block, "down", "block", index, 0)
        if self._unet.mid_block is not None:
            self._wrap(self._unet.mid_block, "mid", "block", 0, 0)
        for index, block in enumerate(reversed(self._unet.up_blocks)):
            self._wrap_layers(block, "up", index, range(len(block.resnets))[::-1])
            for upsampler in block.upsamplers or []:
                self._wrap(upsampler, "up", "upsampler", index, 0)
            self._wrap(block, "up", "block", index, 0)

    def _wrap_layers(self, block: torch.nn.Module, way: str, index: int, layers: range) -> None:
        for name in ("resnets", "attentions"):
            for layer, module in zip(layers, getattr(block, name, []), strict=False):
                self._wrap(module, way, name, index, layer)


def _last(kept: Output, batch: int) -> Output:
    """The last of a batch, in every tensor: of a guided pair, the conditional half."""
    return kept[-batch:] if isinstance(kept, torch.Tensor) else tuple(_last(value, batch) for value in kept)
