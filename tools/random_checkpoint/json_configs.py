"""Contents of the configuration files of a checkpoint."""

from dataclasses import asdict
from typing import Any

from tools.random_checkpoint.config import CheckpointConfig, ClipTextConfig, TinyVaeConfig, TokenizerConfig, VaeConfig

# diffusers wants to know it of pipelines that inpaint.
_DIFFUSERS_VERSION = "0.30.0"
_TORCH_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def vae_json(config: VaeConfig | TinyVaeConfig) -> dict[str, Any]:
    """Contents of the `config.json` of a VAE."""
    shape = {**asdict(config), "in_channels": 3, "out_channels": 3}
    if isinstance(config, TinyVaeConfig):
        return {"_class_name": "AutoencoderTiny", **shape, "act_fn": "relu", "upsampling_scaling_factor": 2}
    levels = len(config.block_out_channels)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    return {"_class_name": "AutoencoderKL", **shape, **blocks}


def json_configs(config: CheckpointConfig) -> dict[str, dict[str, Any]]:
    """Contents of every configuration file, by its path in the folder; that of `model_index.json` is the last."""
    scheduler = asdict(config.scheduler)
    class_name = scheduler.pop("class_name")
    text_dtype = _TORCH_DTYPES[config.dtype]
    files = {
        "text_encoder/config.json": _text_encoder(config.text_encoder, config.tokenizer, "CLIPTextModel", text_dtype),
        "unet/config.json": {"_class_name": "UNet2DConditionModel", **asdict(config.unet)},
        "vae/config.json": vae_json(config.tiny_vae or config.vae),
        "scheduler/scheduler_config.json": {"_class_name": class_name, **scheduler},
    }
    if config.text_encoder_2 is not None:
        files["text_encoder_2/config.json"] = _text_encoder(
            config.text_encoder_2, config.tokenizer_2, "CLIPTextModelWithProjection", text_dtype
        )
    # Last: a folder that has its index is whole.
    return {**files, "model_index.json": _model_index(config)}


def _text_encoder(
    config: ClipTextConfig, tokenizer: TokenizerConfig, class_name: str, torch_dtype: str
) -> dict[str, Any]:
    end = tokenizer.vocab_size - 1
    return {
        "architectures": [class_name],
        "model_type": "clip_text_model",
        "vocab_size": tokenizer.vocab_size,
        **asdict(config),
        "layer_norm_eps": 1e-5,
        "bos_token_id": end - 1,
        "eos_token_id": end if config.eos_token_id is None else config.eos_token_id,
        "pad_token_id": end if tokenizer.pad_token == TokenizerConfig.pad_token else 0,
        "torch_dtype": torch_dtype,
    }


def _model_index(config: CheckpointConfig) -> dict[str, Any]:
    latent_channels = (config.tiny_vae or config.vae).latent_channels
    task = "" if config.unet.in_channels == latent_channels else "Inpaint"
    version = {"_diffusers_version": _DIFFUSERS_VERSION}
    components = {
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", vae_json(config.tiny_vae or config.vae)["_class_name"]),
        "scheduler": ("diffusers", config.scheduler.class_name),
        **dict.fromkeys(("feature_extractor", "image_encoder"), (None, None)),
    }
    if config.text_encoder_2 is None:
        return {
            "_class_name": f"StableDiffusion{task}Pipeline",
            **version,
            "requires_safety_checker": False,
            "safety_checker": (None, None),
            **components,
        }
    return {
        "_class_name": f"StableDiffusionXL{task}Pipeline",
        **version,
        "force_zeros_for_empty_prompt": config.force_zeros_for_empty_prompt,
        **components,
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    }
