"""What a checkpoint is made of. Fields carry diffusers' and transformers' own names, as in `config.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    """Shape of a `CLIPTextModel`; the defaults are v1-5's.

    Attributes:
        projection_dim: Width of the pooled state, of which only a second text encoder has a projection.
        eos_token_id: Which token's state is the pooled one: the vocabulary's own end token where it is None; 2, in old
            configurations, stands for the highest id of a prompt.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    projection_dim: int = 768
    eos_token_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a `UNet2DConditionModel`; the defaults are v1-5's.

    Attributes:
        attention_head_dim: Number of heads a level, which diffusers' configurations call so.
        mid_block_type: `UNetMidBlock2DCrossAttn`, or None for nothing between the halves.
        addition_embed_type: `text_time` for a UNet that is also told pooled text and sizes, as SDXL's.
        addition_time_embed_dim: Width of the sinusoids of each of six sizes.
        projection_class_embeddings_input_dim: Width of pooled text and sinusoids together.
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
    addition_embed_type: Literal["text_time"] | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None


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
    """The noise schedule of Stable Diffusion.

    Attributes:
        class_name: Of diffusers' scheduler.
    """

    class_name: str = "DDIMScheduler"
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
        tokenizer_2: Of the second text encoder.
        text_encoder_2: A `CLIPTextModelWithProjection`, which makes the model one of SDXL's.
        text_encoder_prefix: What the names of the text encoder's tensors begin with: `text_model.` in published
            checkpoints, nothing in those that transformers 5 writes.
        tiny_vae: Takes the place of `vae`.
        force_zeros_for_empty_prompt: Whether SDXL's embeddings of no negative prompt are zeros.
        dtype: Of every stored tensor.
    """

    tokenizer: TokenizerConfig = TokenizerConfig()
    text_encoder: ClipTextConfig = ClipTextConfig()
    tokenizer_2: TokenizerConfig = TokenizerConfig(pad_token="!")
    text_encoder_2: ClipTextConfig | None = None
    unet: UNetConfig = UNetConfig()
    vae: VaeConfig = VaeConfig()
    tiny_vae: TinyVaeConfig | None = None
    scheduler: SchedulerConfig = SchedulerConfig()
    text_encoder_prefix: Literal["text_model.", ""] = "text_model."
    force_zeros_for_empty_prompt: bool = True
    dtype: Dtype = "f32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: got {self.dtype!r}, allowed are {', '.join(DTYPES)}")
