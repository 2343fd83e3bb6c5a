"""What a checkpoint is made of. Fields carry diffusers' and transformers' own names, as in `config.json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Dtype = Literal["f32", "f16", "bf16"]
DTYPES: tuple[Dtype, ...] = ("f32", "f16", "bf16")
Values = int | Sequence[int]


def per_level(field: str, value: Values, levels: int) -> tuple[int, ...]:
    """One number a level, from a number for all or a list of them."""
    values = (value,) * levels if isinstance(value, int) else tuple(value)
    if len(values) != levels:
        raise ValueError(f"{field}: got {len(values)} values, allowed is one number or {levels}, one a level")
    return values


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A byte-level BPE of CLIP's kind.

    Attributes:
        vocab_size: Entries; CLIP's 49408, at least 514: every byte, every byte at a word's end, begin and end token.
        pad_token: What fills the window: CLIP's own end token, or `!`, id 0, in Stable Diffusion 2.
    """

    vocab_size: int = 49_408
    pad_token: str = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig:
    """Shape of a `CLIPTextModel`; the defaults are v1-5's."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    projection_dim: int = 768


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a `UNet2DConditionModel`; the defaults are v1-5's.

    Attributes:
        attention_head_dim: Number of heads a level, which diffusers' configurations call so.
        mid_block_type: `UNetMidBlock2DCrossAttn`, or None for nothing between the halves.
    """

    sample_size: int = 64
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: Sequence[int] = (320, 640, 1280, 1280)
    down_block_types: Sequence[str] = (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D")
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    up_block_types: Sequence[str] = ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3)
    layers_per_block: Values = 2
    transformer_layers_per_block: Values = 1
    attention_head_dim: Values = 8
    cross_attention_dim: int = 768
    use_linear_projection: bool = False
    norm_num_groups: int = 32


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """Shape of an `AutoencoderKL`; the defaults are those of v1-5 and v2-1."""

    sample_size: int = 512
    latent_channels: int = 4
    block_out_channels: Sequence[int] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


@dataclass(frozen=True, kw_only=True)
class TinyVaeConfig:
    """Shape of an `AutoencoderTiny`; the defaults are TAESD's."""

    latent_channels: int = 4
    encoder_block_out_channels: Sequence[int] = (64, 64, 64, 64)
    decoder_block_out_channels: Sequence[int] = (64, 64, 64, 64)
    num_encoder_blocks: Sequence[int] = (1, 3, 3, 3)
    num_decoder_blocks: Sequence[int] = (3, 3, 3, 1)
    scaling_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """The noise schedule of Stable Diffusion, for diffusers' `DDIMScheduler`."""

    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    clip_sample: bool = False
    set_alpha_to_one: bool = False
    steps_offset: int = 1
    timestep_spacing: str = "leading"


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """A whole model; vary it with `dataclasses.replace`.

    Attributes:
        text_encoder_prefix: What the names of the text encoder's tensors begin with: `text_model.` in published
            checkpoints, nothing in those that transformers 5 writes.
        tiny_vae: Takes the place of `vae`.
        dtype: Of every stored tensor.
    """

    tokenizer: TokenizerConfig = TokenizerConfig()
    text_encoder: ClipTextConfig = ClipTextConfig()
    unet: UNetConfig = UNetConfig()
    vae: VaeConfig = VaeConfig()
    tiny_vae: TinyVaeConfig | None = None
    scheduler: SchedulerConfig = SchedulerConfig()
    text_encoder_prefix: Literal["text_model.", ""] = "text_model."
    dtype: Dtype = "f32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: got {self.dtype!r}, allowed are {', '.join(DTYPES)}")


def vae_json(config: VaeConfig | TinyVaeConfig) -> dict[str, Any]:
    """Contents of the `config.json` of a VAE."""
    shape = {**asdict(config), "in_channels": 3, "out_channels": 3}
    if isinstance(config, TinyVaeConfig):
        return {"_class_name": "AutoencoderTiny", **shape, "act_fn": "relu", "upsampling_scaling_factor": 2}
    levels = len(config.block_out_channels)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    return {"_class_name": "AutoencoderKL", **shape, **blocks}


def json_configs(config: CheckpointConfig) -> dict[str, dict[str, Any]]:
    """Contents of every configuration file, by its path in the folder."""
    eos = config.tokenizer.vocab_size - 1
    torch_dtype = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[config.dtype]
    vae = vae_json(config.tiny_vae or config.vae)
    components = {
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", vae["_class_name"]),
        "scheduler": ("diffusers", "DDIMScheduler"),
    }
    absent = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"), (None, None))
    return {
        "text_encoder/config.json": {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "vocab_size": config.tokenizer.vocab_size,
            **asdict(config.text_encoder),
            "layer_norm_eps": 1e-5,
            "bos_token_id": eos - 1,
            "eos_token_id": eos,
            "pad_token_id": eos if config.tokenizer.pad_token == TokenizerConfig.pad_token else 0,
            "torch_dtype": torch_dtype,
        },
        "unet/config.json": {"_class_name": "UNet2DConditionModel", **asdict(config.unet)},
        "vae/config.json": vae,
        "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler", **asdict(config.scheduler)},
        # Last: a folder that has its index is whole.
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "requires_safety_checker": False,
            **absent,
            **components,
        },
    }
