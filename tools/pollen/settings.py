"""What a run is asked for, checked once, and where each stage keeps what it makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.pollen.errors import RecipeError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SHIPPED = REPOSITORY / "python" / "sd_rbee" / "pollen"
DEFAULT_WORK = REPOSITORY / "target" / "pollen"

# GroupNorm of the UNet works in 32 groups.
CHANNEL_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run of the recipe.

    Attributes:
        work: Folder that every stage writes into and reads from.
        start: Diffusers folder whose tokenizer and weights a further cycle begins with, or None to begin anew.
        minutes_vae: Wall-clock minutes of VAE training; 0 keeps the weights of `start`.
        minutes_unet: Wall-clock minutes of training the text encoder and UNet together; 0 keeps those of `start`.
        steps_vae: Optimizer steps instead of `minutes_vae`, or None. Only a run counted in steps repeats exactly.
        steps_unet: Optimizer steps instead of `minutes_unet`, or None.
        rate_vae: Peak learning rate of the VAE.
        rate_unet: Peak learning rate of the text encoder and UNet.
        freeze_encoder: Train the VAE's decoder only, so that latents, and the UNet made for them, stay valid.
        unet_channels: Channels of the UNet's three levels; multiples of 32. Ignored with `start`.
        batch: Samples a step of the text encoder and UNet.
        pairs: Scenes that show two things side by side.
        checkpoint_minutes: Wall-clock minutes between the checkpoints of a training stage.
        seed: Seed of everything random.
        threads: CPU threads.
        device: `cpu`, `cuda` or `cuda:N`.
        bf16: Whether the training steps run under bf16 autocast.
        prompts: What `sample` draws.
    """

    work: Path
    start: Path | None
    minutes_vae: float
    minutes_unet: float
    steps_vae: int | None
    steps_unet: int | None
    rate_vae: float
    rate_unet: float
    freeze_encoder: bool
    unet_channels: tuple[int, int, int]
    batch: int
    pairs: int
    checkpoint_minutes: float
    seed: int
    threads: int
    device: str
    bf16: bool
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what no stage could work with.

        Raises:
            RecipeError: A value is out of its range, or `start` is no diffusers folder.
        """
        for name in ("minutes_vae", "minutes_unet", "pairs", "seed"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("rate_vae", "rate_unet", "checkpoint_minutes"):
            _require(name, getattr(self, name), getattr(self, name) > 0, "more than 0")
        for name in ("steps_vae", "steps_unet"):
            value = getattr(self, name)
            _require(name, value, value is None or value >= 1, "1 or more")
        _require("batch", self.batch, self.batch >= 8, "8 or more (an eighth of a batch is pairs)")
        _require("threads", self.threads, self.threads >= 1, "1 or more")
        _require(
            "unet_channels",
            self.unet_channels,
            all(n > 0 and n % CHANNEL_MULTIPLE == 0 for n in self.unet_channels),
            f"three positive multiples of {CHANNEL_MULTIPLE}",
        )
        if self.start is not None:
            index = self.start / "model_index.json"
            _require("start", self.start, index.is_file(), "a diffusers folder (one with a model_index.json)")
        else:
            trained = self.minutes_vae > 0 or self.steps_vae is not None
            _require("minutes_vae", self.minutes_vae, trained, "more than 0, unless --start gives a trained VAE")
            trained = self.minutes_unet > 0 or self.steps_unet is not None
            _require("minutes_unet", self.minutes_unet, trained, "more than 0, unless --start gives a trained UNet")
            _require("freeze_encoder", self.freeze_encoder, not self.freeze_encoder, "only with --start")

    @property
    def trains_vae(self) -> bool:
        return self.minutes_vae > 0 or self.steps_vae is not None

    @property
    def trains_unet(self) -> bool:
        return self.minutes_unet > 0 or self.steps_unet is not None

    @property
    def tarballs(self) -> Path:
        return self.work / "tarballs"

    @property
    def raw(self) -> Path:
        return self.work / "raw"

    @property
    def pictures(self) -> Path:
        return self.work / "pictures.npy"

    @property
    def scenes(self) -> Path:
        return self.work / "scenes.json"

    @property
    def tokenizer(self) -> Path:
        return self.work / "tokenizer"

    @property
    def vae(self) -> Path:
        return self.work / "vae"

    @property
    def latents(self) -> Path:
        return self.work / "latents.pt"

    @property
    def denoiser(self) -> Path:
        return self.work / "denoiser"

    @property
    def model(self) -> Path:
        return self.work / "model"

    @property
    def sheet(self) -> Path:
        return self.work / "sheet.png"


def _require(field: str, given: object, allowed: bool, what: str) -> None:
    if not allowed:
        raise RecipeError(f"{field}: {given} was given, allowed is {what}")
