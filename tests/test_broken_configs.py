"""Configurations and tokenizers that are broken, absurd, or of another model."""

import os
import sys
from pathlib import Path

import pytest

from breaking import Break, both, check, config, instead, remove, write

CONFIGS: dict[str, tuple[Break, str]] = {
    "no-json": (write("unet/config.json", b"{'a': 1}"), "unet/config.json: not the JSON"),
    "empty": (write("vae/config.json", b""), "vae/config.json: not the JSON"),
    "array": (write("vae/config.json", b"[1]"), "vae/config.json: is not a JSON object"),
    "no-utf8": (write("vae/config.json", b"\xff\xfe{}"), "vae/config.json: is not UTF-8"),
    "deep": (write("unet/config.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "unet/config.json"),
    "missing": (remove("unet/config.json"), "unet/config.json: there is no such file"),
    "scheduler-missing": (remove("scheduler/scheduler_config.json"), "scheduler/scheduler_config.json"),
    "scheduler-garbage": (write("scheduler/scheduler_config.json", b"\1\2"), "scheduler_config.json is no JSON"),
    "scheduler-deep": (write("scheduler/scheduler_config.json", b"[" * 500_000), "scheduler_config.json"),
    "scheduler-steps": (config("scheduler/scheduler_config.json", num_train_timesteps=10**15), "num_train_timesteps"),
    "scheduler-beta": (config("scheduler/scheduler_config.json", beta_end=-1), "beta_end"),
    "scheduler-kind": (config("scheduler/scheduler_config.json", beta_schedule="mine"), "beta_schedule"),
    "scheduler-type": (config("scheduler/scheduler_config.json", prediction_type=3), "prediction_type"),
    "generation-steps": (config("generation_config.json", num_inference_steps=10**9), "num_inference_steps"),
    "generation-scale": (config("generation_config.json", guidance_scale="much"), "guidance_scale"),
    "channels-none": (config("unet/config.json", block_out_channels=[]), "unet: block_out_channels is []"),
    "channels-zero": (config("unet/config.json", block_out_channels=[0, 0, 0]), "unet: block_out_channels"),
    "channels-huge": (config("unet/config.json", block_out_channels=[2**40] * 3), "unet: block_out_channels"),
    "channels-many": (config("unet/config.json", block_out_channels=[64] * 10**5), "unet: block_out_channels"),
    "channels-text": (config("unet/config.json", block_out_channels="64"), 'unet: block_out_channels is "64"'),
    "channels-null": (config("unet/config.json", block_out_channels=None), "unet: block_out_channels is nothing"),
    "channels-float": (config("unet/config.json", block_out_channels=[64.5, 96, 160]), "unet: block_out_channels"),
    "channels-negative": (config("unet/config.json", block_out_channels=[-64, 96, 160]), "unet: block_out_channels"),
    "channels-other": (config("unet/config.json", block_out_channels=[64, 96, 192]), "misshapen: "),
    "groups-zero": (config("unet/config.json", norm_num_groups=0), "unet: norm_num_groups is 0"),
    "groups-odd": (config("unet/config.json", norm_num_groups=7), "unet: norm_num_groups is 7"),
    "heads-zero": (config("unet/config.json", attention_head_dim=0), "unet: attention_head_dim is 0"),
    "heads-odd": (config("unet/config.json", attention_head_dim=7), "unet: attention_head_dim"),
    "layers-zero": (config("unet/config.json", layers_per_block=0), "unet: layers_per_block is 0"),
    "layers-huge": (config("unet/config.json", layers_per_block=10**18), "unet: layers_per_block"),
    "layers-more": (config("unet/config.json", layers_per_block=2), "missing: down_blocks.0.resnets.1"),
    "sample-huge": (config("unet/config.json", sample_size=10**9), "unet: sample_size"),
    "block-unknown": (config("unet/config.json", down_block_types=["MyBlock"] * 3), "unet: down_block_types"),
    "block-count": (config("unet/config.json", down_block_types=["DownBlock2D"]), "unet: down_block_types"),
    "activation": (config("unet/config.json", act_fn="mish"), 'unet: act_fn is "mish", supported is "silu"'),
    "width-apart": (config("unet/config.json", cross_attention_dim=129), "cross_attention_dim is 129, but text_enc"),
    "latents-apart": (config("vae/config.json", latent_channels=4), "but vae: latent_channels is 4"),
    "vae-scale": (config("vae/config.json", scaling_factor=0), "vae: scaling_factor is 0"),
    "vae-groups": (config("vae/config.json", norm_num_groups=3), "vae: norm_num_groups is 3"),
    "vae-levels": (config("vae/config.json", block_out_channels=[16] * 17), "vae: block_out_channels"),
    "clip-layers": (config("text_encoder/config.json", num_hidden_layers=10**6), "text_encoder: num_hidden_layers"),
    "clip-window": (config("text_encoder/config.json", max_position_embeddings=10**12), "max_position_embeddings"),
    "clip-window-1": (config("text_encoder/config.json", max_position_embeddings=1), "max_position_embeddings"),
    "clip-heads": (config("text_encoder/config.json", num_attention_heads=3), "text_encoder: num_attention_heads"),
    "clip-act": (config("text_encoder/config.json", hidden_act="tanh"), "text_encoder: hidden_act"),
    "clip-vocab": (config("text_encoder/config.json", vocab_size=10), "text_encoder: vocab_size is 10"),
    "clip-larger-vocab": (config("text_encoder/config.json", vocab_size=5000), "misshapen: embeddings.token_embedding"),
    "index-class": (config("model_index.json", _class_name="FluxPipeline"), "model_index.json: the pipeline is Flux"),
    "index-no-class": (config("model_index.json", _class_name=None), 'model_index.json: has no "_class_name"'),
    "index-garbage": (write("model_index.json", b"model"), "model_index.json: not the JSON"),
    "index-array": (write("model_index.json", b"[]"), "model_index.json"),
}

TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"]
TOKENIZERS: dict[str, tuple[Break, str]] = {
    "folder-missing": (lambda model: (model / "tokenizer").rename(model / "gone"), '"tokenizer"'),
    "all-missing": (both(*(remove(f"tokenizer/{name}") for name in TOKENIZER_FILES)), "tokenizer"),
    "garbage": (write("tokenizer/tokenizer.json", b"{]"), "tokenizer/tokenizer.json: is not a tokenizer"),
    "another-kind": (
        write("tokenizer/tokenizer.json", b'{"model": {"type": "Unigram", "vocab": []}}'),
        "tokenizer/tokenizer.json: is a Unigram tokenizer, CLIP's is BPE",
    ),
    "no-vocabulary": (
        write("tokenizer/tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}'),
        "tokenizer/tokenizer.json",
    ),
    "alien-merges": (
        write("tokenizer/tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}}'),
        "tokenizer/tokenizer.json",
    ),
    "merges-missing": (
        both(remove("tokenizer/tokenizer.json"), remove("tokenizer/merges.txt")),
        "tokenizer/merges.txt: there is no such file",
    ),
    "vocab-garbage": (
        both(remove("tokenizer/tokenizer.json"), write("tokenizer/vocab.json", b'{"a": -1}')),
        "tokenizer/vocab.json",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_absurd_configurations(case: str, tmp_path: Path) -> None:
    check(*CONFIGS[case], tmp_path)


@pytest.mark.parametrize("case", TOKENIZERS)
def test_broken_tokenizers(case: str, tmp_path: Path) -> None:
    check(*TOKENIZERS[case], tmp_path)


def enlarge(model: Path) -> None:
    """100 MB, of which the disk holds none."""
    remove("vae/config.json")(model)
    with (model / "vae/config.json").open("wb") as file:
        file.truncate(100_000_000)


def test_a_configuration_of_100_mb_is_not_read(tmp_path: Path) -> None:
    check(enlarge, "vae/config.json: is 100000000 bytes, allowed are at most", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "tokenizer/tokenizer.json"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    check(instead(name, os.mkfifo), f"{name}: is not a file", tmp_path)
