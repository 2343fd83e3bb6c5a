"""The text encoder and the UNet, trained together to predict v from noisy latents and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from tools.pollen import latents, networks, scenes, tokenizer
from tools.pollen.attention import F32Attention
from tools.pollen.average import Average
from tools.pollen.budget import Budget
from tools.pollen.device import autocast, place
from tools.pollen.files import whole
from tools.pollen.training import Loop, mean

if TYPE_CHECKING:
    from tools.pollen.kinds import Network, Scheduler, TextEncoder, Unet
    from tools.pollen.latents import Latents
    from tools.pollen.settings import Settings

DROPPED = 0.1
PAIRS = 1 / 8
DECAY = 0.9995
HOLD = 0.4
# Of the logit-normal half of the timesteps: more of them where the outlines are decided.
LOGIT_MEAN, LOGIT_DEVIATION = 0.6, 1.0
JUDGED_BATCHES = 8


@dataclass
class Networks:
    """What is trained.

    Attributes:
        text_encoder: Captions to `[n, length, width]`.
        unet: Noisy latents, timesteps and encoded captions to v.
        scheduler: Says how noisy a timestep is.
    """

    text_encoder: TextEncoder
    unet: Unet
    scheduler: Scheduler

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return all of both networks' parameters by name."""
        named: dict[str, Network] = {"text_encoder": self.text_encoder, "unet": self.unet}
        return {
            f"{part}.{name}": value for part, network in named.items() for name, value in network.named_parameters()
        }


@dataclass
class Batch:
    """What one step sees, on the device.

    Attributes:
        clean: f32 `[n, channels, h, w]`, unit variance.
        noise: f32, same shape.
        timesteps: i64 `[n]`.
        tokens: i64 `[n, length]`.
    """

    clean: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    tokens: torch.Tensor


def run(settings: Settings) -> dict[str, Any]:
    """Write the folder `denoiser` with `text_encoder` and `unet`, f32: their moving averages."""
    device = place(settings)
    trained = _networks(settings, device)
    data = Data(settings, device, trained.scheduler.config.num_train_timesteps)
    figures: dict[str, Any] = {"judged loss before": judge(trained, data, settings)}
    loop = None
    if settings.trains_unet:
        loop = _loop(trained, settings)
        figures |= loop.run(lambda: loss(trained, data.batch(settings.batch, loop.generator), settings))
        if loop.average is not None:
            loop.average.exchange(loop.parameters)
    figures["judged loss"] = judge(trained, data, settings)
    with whole(settings.denoiser) as draft:
        trained.text_encoder.save_pretrained(draft / "text_encoder")
        trained.unet.save_pretrained(draft / "unet")
    if loop is not None:
        loop.finish()
    return figures


def loss(networks: Networks, batch: Batch, settings: Settings) -> torch.Tensor:
    """Return the mean squared error of the predicted v."""
    noisy = networks.scheduler.add_noise(batch.clean, batch.noise, batch.timesteps)
    target = networks.scheduler.get_velocity(batch.clean, batch.noise, batch.timesteps)
    # The text encoder is a few per cent of the work: f32 costs nothing there.
    context = networks.text_encoder(batch.tokens).last_hidden_state
    with autocast(settings):
        predicted = networks.unet(noisy, batch.timesteps, encoder_hidden_states=context).sample
    return functional.mse_loss(predicted.float(), target)


def judge(networks: Networks, data: Data, settings: Settings) -> float:
    """Return the loss over always the same scenes, noises and timesteps."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        losses = [float(loss(networks, data.batch(64, generator), settings)) for _ in range(JUDGED_BATCHES)]
    return round(mean(losses), 4)


class Data:
    """The latents and the tokens of their captions."""

    def __init__(self, settings: Settings, device: torch.device, timesteps: int) -> None:
        """Read both.

        Args:
            settings: Where they are.
            device: Where batches go.
            timesteps: Number of the scheduler's training timesteps.
        """
        self.device = device
        self.timesteps = timesteps
        self.latents: Latents = latents.load(settings.latents, device)
        words = tokenizer.load(settings.tokenizer)
        told = scenes.load(settings.scenes)
        flat = [caption for scene in told for caption in scene.captions]
        ids = words([*flat, ""], padding="max_length", truncation=True, return_tensors="pt").input_ids
        self.tokens = ids[:-1].reshape(len(told), -1, ids.shape[-1])
        self.nothing = ids[-1]

    def batch(self, count: int, generator: torch.Generator) -> Batch:
        """Draw a batch, an eighth of it pairs where there are any.

        Args:
            count: Samples.
            generator: CPU generator of all choices.
        """
        singles, all_scenes = self.latents.singles, len(self.tokens)
        paired = int(count * PAIRS) if all_scenes > singles else 0
        chosen = torch.randint(singles, (count - paired,), generator=generator)
        if paired:
            chosen = torch.cat([chosen, torch.randint(singles, all_scenes, (paired,), generator=generator)])
        said = torch.randint(self.tokens.shape[1], (count,), generator=generator)
        tokens = self.tokens[chosen, said]
        tokens[torch.rand(count, generator=generator) < DROPPED] = self.nothing
        clean = self.latents.draw(chosen, generator)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        return Batch(clean, noise, self._timesteps(count, generator).to(self.device), tokens.to(self.device))

    def _timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        even = torch.rand(count, generator=generator)
        logits = LOGIT_MEAN + LOGIT_DEVIATION * torch.randn(count, generator=generator)
        first = torch.rand(count, generator=generator) < 0.5
        return (torch.where(first, even, logits.sigmoid()) * self.timesteps).long().clamp(max=self.timesteps - 1)


def _networks(settings: Settings, device: torch.device) -> Networks:
    start = settings.start
    if start is None:
        text_encoder = networks.new_text_encoder(tokenizer.load(settings.tokenizer))
        unet = networks.new_unet(settings.unet_channels)
    else:
        text_encoder = networks.read_text_encoder(start / "text_encoder")
        unet = networks.read_unet(start / "unet")
    unet.set_attn_processor(F32Attention())
    return Networks(text_encoder.to(device), unet.to(device), networks.new_scheduler())


def _loop(trained: Networks, settings: Settings) -> Loop:
    parameters = trained.parameters()
    return Loop(
        name="denoiser",
        parameters=parameters,
        budget=Budget(settings.minutes_unet, settings.steps_unet),
        rate=settings.rate_unet,
        hold=HOLD if settings.start is None else 0.0,
        generator=torch.Generator().manual_seed(settings.seed),
        checkpoint=settings.work / "denoiser.checkpoint.pt",
        checkpoint_minutes=settings.checkpoint_minutes,
        average=Average(parameters, DECAY),
    )
