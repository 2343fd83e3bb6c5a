"""Which models are found, and what unusual ones cost."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breaking import UNET, remove, tensors
from sd_rbee import CheckpointError, InferenceError, ModelNotFoundError, Pipeline, models
from support import (
    POLLEN,
    copy_model,
    edit_json,
    pixels,
    pollen,
    read_safetensors,
    replace,
    run,
    small,
    write_safetensors,
)

UNET_CONFIG, INDEX = "unet/config.json", "unet/diffusion_pytorch_model.safetensors.index.json"


def test_an_unbroken_copy_draws_the_same(tmp_path: Path) -> None:
    pipe = Pipeline.load(copy_model(tmp_path))
    assert pipe.model == "model"
    assert np.array_equal(pixels(pipe.generate("a robot", **small())), pixels(pollen().generate("a robot", **small())))


def test_what_is_no_model(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", POLLEN / "unet"):
        with pytest.raises(ModelNotFoundError, match=path.name):
            Pipeline.load(path)
    with pytest.raises(CheckpointError, match=r"pollen/model_index\.json: is not a safetensors file"):
        Pipeline.load(POLLEN / "model_index.json")


def test_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.available() == {"pollen": POLLEN}
    assert models.name("pollen") == "pollen"
    copy_model(tmp_path)
    monkeypatch.chdir(tmp_path / "model")
    assert models.resolve(".") == tmp_path / "model"
    assert models.name(".") == "model"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert models.resolve("~/model") == tmp_path / "model"


def test_pickles_are_never_read(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    for suffix in ("bin", "pt", "ckpt"):
        (model / f"unet/diffusion_pytorch_model.{suffix}").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    Pipeline.load(model)
    remove(UNET)(model)
    with pytest.raises(CheckpointError, match="a pickle can run code, only safetensors is read"):
        Pipeline.load(model)


def shard(model: Path, names: tuple[str, str] = ("one.safetensors", "two.safetensors")) -> None:
    """Splits the UNet's weights into two files and an index."""
    entries, data = read_safetensors(model / UNET)
    entries.pop("__metadata__", None)
    (model / UNET).unlink()
    order = sorted(entries, key=lambda tensor: entries[tensor]["data_offsets"][0])
    half = len(order) // 2
    weight_map: dict[str, str] = {}
    for name, part in zip(names, (order[:half], order[half:]), strict=True):
        begin, end = entries[part[0]]["data_offsets"][0], entries[part[-1]]["data_offsets"][1]
        moved: dict[str, dict[str, Any]] = {}
        for tensor in part:
            offsets = [offset - begin for offset in entries[tensor]["data_offsets"]]
            moved[tensor] = {**entries[tensor], "data_offsets": offsets}
        write_safetensors(model / "unet" / name, moved, data[begin:end])
        weight_map |= dict.fromkeys(part, name)
    replace(model / INDEX, json.dumps({"metadata": {}, "weight_map": weight_map}).encode())


def test_shards_are_one_model(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    shard(model)
    drawn = Pipeline.load(model).generate("a robot", **small())
    assert np.array_equal(pixels(drawn), pixels(pollen().generate("a robot", **small())))


@pytest.mark.parametrize(
    "name", ["../unet/one.safetensors", "/etc/passwd", "..", "a\\b.safetensors", "C:x.safetensors", "", "one.bin"]
)
def test_a_shard_is_a_file_beside_its_index(name: str, tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    shard(model)
    replace(model / INDEX, json.dumps({"weight_map": {"conv_in.weight": name}}).encode())
    with pytest.raises(CheckpointError) as caught:
        Pipeline.load(model)
    assert f"{INDEX}: {json.dumps(name)} is not the name of a safetensors file beside it" in str(caught.value)


def test_shards_must_be_whole(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    shard(model)
    (model / "unet/two.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r'index\.json: the shard "two\.safetensors" that it lists is missing'):
        Pipeline.load(model)
    (model / "unet/two.safetensors").symlink_to(model / "unet/one.safetensors")
    with pytest.raises(CheckpointError, match=r'the tensor ".*" is in unet/one\.safetensors too'):
        Pipeline.load(model)
    replace(model / INDEX, b'{"weight_map": {}}')
    with pytest.raises(CheckpointError, match="lists no tensors"):
        Pipeline.load(model)


def test_weights_that_are_not_numbers_draw_nothing(tmp_path: Path) -> None:
    model = copy_model(tmp_path)

    def spoil(entries: dict[str, dict[str, Any]], data: bytes) -> bytes:
        begin, end = entries["conv_out.bias"]["data_offsets"]
        return data[:begin] + np.full((end - begin) // 2, np.nan, np.float16).tobytes() + data[end:]

    tensors(UNET, spoil)(model)
    with pytest.raises(InferenceError, match="not finite"):
        Pipeline.load(model).generate("a robot", **small())


def test_a_scheduler_that_cannot_be_obeyed(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    edit_json(model / "scheduler/scheduler_config.json", thresholding=True)
    pipe = Pipeline.load(model)
    with pytest.raises(CheckpointError, match="thresholding is true, supported is false"):
        pipe.generate("a robot", **small())


def test_a_vocabulary_that_the_text_encoder_does_not_know(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    table = "embeddings.token_embedding.weight"

    def shrink(entries: dict[str, dict[str, Any]], data: bytes) -> bytes:
        begin, end = entries[table]["data_offsets"]
        kept = begin + 10 * 128 * 2
        for entry in entries.values():
            if entry.get("data_offsets", [0])[0] >= end:
                entry["data_offsets"] = [offset - (end - kept) for offset in entry["data_offsets"]]
        entries[table] |= {"shape": [10, 128], "data_offsets": [begin, kept]}
        return data[:kept] + data[end:]

    tensors("text_encoder/model.safetensors", shrink)(model)
    edit_json(model / "text_encoder/config.json", vocab_size=10)
    with pytest.raises(CheckpointError, match=r"vocab_size|10 entries"):
        Pipeline.load(model).generate("a robot", **small())


# What a configuration asks for, while the files hold something else.
LARGE: dict[str, dict[str, object]] = {
    "wide": {"block_out_channels": [64, 96, 16384]},
    "wide-heads": {"block_out_channels": [16384] * 3, "attention_head_dim": 256},
    "deep": {"layers_per_block": 32, "transformer_layers_per_block": 64},
    "all": {
        "block_out_channels": [16384] * 16,
        "down_block_types": ["CrossAttnDownBlock2D"] * 16,
        "up_block_types": ["CrossAttnUpBlock2D"] * 16,
        "layers_per_block": 32,
        "transformer_layers_per_block": 64,
    },
}
MEASURE = """
import pathlib, re, resource, sys
import sd_rbee
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
sd_rbee.Pipeline.load(engine=sys.argv[2])
before = peak()
try:
    sd_rbee.Pipeline.load(sys.argv[1], engine=sys.argv[2])
except sd_rbee.CheckpointError as error:
    print(peak() - before, len(str(error)))
    print(str(error)[:1000])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("engine", ["native", "candle"])
@pytest.mark.parametrize("case", LARGE)
def test_a_configuration_costs_no_memory(case: str, engine: str, tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    edit_json(model / UNET_CONFIG, **LARGE[case])
    done = run("-c", MEASURE, model, engine)
    assert done.returncode == 0, done.stderr
    kib, length = map(int, done.stdout.splitlines()[0].split())
    assert kib < 100 << 10
    assert length < 100_000


def test_an_error_of_candle_is_no_backtrace(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    edit_json(model / UNET_CONFIG, layers_per_block=2)
    done = run("-c", MEASURE, model, "candle", env={"RUST_BACKTRACE": "1"})
    assert done.stdout.splitlines()[1:] == [
        "the candle engine cannot build this model: cannot find tensor down_blocks.0.resnets.1.norm1.weight"
    ]
