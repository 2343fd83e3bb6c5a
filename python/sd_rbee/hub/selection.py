"""Which files of a repository a model needs."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sd_rbee.errors import CheckpointError, InvalidParamsError, ModelNotFoundError
from sd_rbee.hub.reference import VARIANTS, Variant

_INDEX = "model_index.json"
_OWN_DEFAULTS = "generation_config.json"
# With weights: those that no pipeline can do without, and the others that the engine has a use for.
_NEEDED = ("unet", "vae")
_NETWORKS = (*_NEEDED, "text_encoder", "text_encoder_2")
_TOKENIZERS = ("tokenizer", "tokenizer_2")
_TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SCHEDULER = "scheduler/scheduler_config.json"
# As the engine looks for them: transformers' name and diffusers', and where each of them puts the variant.
_STEMS = ("model", "diffusion_pytorch_model")
_NAMES: dict[str, tuple[str, ...]] = {
    "none": ("{stem}.safetensors", "{stem}.safetensors.index.json"),
    "fp16": (
        "{stem}.fp16.safetensors",
        "{stem}.safetensors.fp16.index.json",
        "{stem}.safetensors.index.fp16.json",
        "{stem}.fp16.safetensors.index.json",
    ),
}
_ORDERS: dict[Variant, tuple[str, ...]] = {"auto": ("fp16", "none"), "fp16": ("fp16",), "none": ("none",)}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_SHOWN = 10

Read = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is needed.

    Attributes:
        files: Paths in the repository, the small ones first.
        root: The file that is the model; None where it is a folder.
    """

    files: tuple[str, ...]
    root: str | None = None


def select(names: Collection[str], read: Read, variant: Variant = "auto", file: str | None = None) -> Selection:
    """The files of a pipeline, of one component, or of a model in one file.

    Never pickles, safety checkers, weights of other frameworks, or the single files beside a pipeline.

    Args:
        names: Paths of all files of the repository.
        read: Gives the content of one of its JSON files.
        variant: Which weights: `auto` takes those in f16 where a component has them, `fp16` nothing else, `none`
            those without a variant.
        file: The one file that is wanted.

    Raises:
        ModelNotFoundError: There is no model, or there are several.
        CheckpointError: There is one that the engine cannot read.
        InvalidParamsError: There is no such variant.
    """
    if variant not in VARIANTS:
        raise InvalidParamsError("variant", repr(variant)[:80], f"one of {', '.join(VARIANTS)}")
    names = frozenset(names)
    singles = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    if file is not None:
        if file not in names:
            raise ModelNotFoundError(f"there is no {file}; there is {_listed(singles)}")
        return Selection((file,), file)
    if _INDEX in names:
        return Selection(tuple(_pipeline(names, read, variant)))
    if "config.json" in names and any(f"{stem}{end}" in names for stem in _STEMS for end in _ends()):
        return Selection(("config.json", *_weights(names, read, variant, "")))
    if len(singles) == 1:
        return Selection((singles[0],), singles[0])
    if singles:
        raise ModelNotFoundError(f"it has several models; name one behind a colon: {_listed(singles)}")
    raise ModelNotFoundError(f"it has no model: neither {_INDEX} nor a .safetensors file at its top{_pickled(names)}")


def _pipeline(names: frozenset[str], read: Read, variant: Variant) -> Iterator[str]:
    index = read(_INDEX)
    if not isinstance(index, dict):
        raise CheckpointError(f"{_INDEX} is not a JSON object")
    has = {name for name, value in index.items() if isinstance(value, list) and value and all(value)}
    if missing := [component for component in _NEEDED if component not in has]:
        kind = str(index.get("_class_name"))[:80]
        raise CheckpointError(f"{_INDEX} is of a {kind} without {' and '.join(missing)}, which cannot be drawn with")
    yield _INDEX
    yield from sorted(names & {_OWN_DEFAULTS})
    yield from _present(names, [_SCHEDULER])
    for tokenizer in sorted(has & {*_TOKENIZERS}):
        files = [f"{tokenizer}/{file}" for file in _TOKENIZER_FILES if f"{tokenizer}/{file}" in names]
        if f"{tokenizer}/tokenizer.json" not in files:
            _present(names, [f"{tokenizer}/vocab.json", f"{tokenizer}/merges.txt"])
        yield from files
    networks = [component for component in _NETWORKS if component in has]
    yield from _present(names, [f"{component}/config.json" for component in networks])
    for component in networks:
        yield from _weights(names, read, variant, f"{component}/")


def _weights(names: frozenset[str], read: Read, variant: Variant, folder: str) -> Iterator[str]:
    for order in _ORDERS[variant]:
        for stem in _STEMS:
            for pattern in _NAMES[order]:
                name = folder + pattern.format(stem=stem)
                if name in names:
                    yield name
                    if name.endswith(".json"):
                        yield from _shards(names, read(name), name, folder)
                    return
    wanted = f"weights of the variant {variant}" if variant != "auto" else "safetensors weights"
    here = frozenset(name for name in names if name.startswith(folder))
    raise CheckpointError(f"{folder.rstrip('/') or 'it'} has no {wanted}{_pickled(here)}")


def _shards(names: frozenset[str], index: object, shown: str, folder: str) -> list[str]:
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{shown} lists no shards")
    shards = {str(shard) for shard in weight_map.values()}
    for shard in sorted(shards):
        if "/" in shard or not shard.endswith(".safetensors"):
            raise CheckpointError(f"{shown}: {shard[:200]!r} is not the name of a safetensors file beside it")
    return _present(names, sorted(folder + shard for shard in shards))


def _present(names: frozenset[str], needed: list[str]) -> list[str]:
    if missing := [name for name in needed if name not in names]:
        raise CheckpointError(f"it has no {_listed(missing)}")
    return needed


def _ends() -> Iterator[str]:
    return (pattern.removeprefix("{stem}") for patterns in _NAMES.values() for pattern in patterns)


def _pickled(names: frozenset[str]) -> str:
    pickle = min((name for name in names if name.endswith(_PICKLES)), default=None)
    return "" if pickle is None else f" (there is {pickle}: a pickle can run code, only safetensors is read)"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:200] for name in names[:_SHOWN]) + more if names else "none"
