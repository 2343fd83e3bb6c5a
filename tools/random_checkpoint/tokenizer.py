"""A byte-level BPE in CLIP's form whose merges are made up, as the published ones may not be at hand."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from string import ascii_lowercase

from tools.random_checkpoint.config import TokenizerConfig

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"


def write_tokenizer(folder: Path, config: TokenizerConfig, model_max_length: int) -> None:
    """Writes `vocab.json`, `merges.txt`, `tokenizer_config.json` and `special_tokens_map.json` into a new folder.

    Raises:
        ValueError: The vocabulary is too small for every byte and the special tokens, or larger than merges suffice
            for.
    """
    folder.mkdir(exist_ok=True)
    letters = [*_alphabet(), *(f"{letter}{END_OF_WORD}" for letter in _alphabet())]
    count = config.vocab_size - len(letters) - 2
    merges = list(islice(_merges(), max(count, 0)))
    if len(merges) != count:
        raise ValueError(f"vocab_size: got {config.vocab_size}, allowed is at least {len(letters) + 2}")
    vocabulary = [*letters, *(left + right for left, right in merges), BOS, EOS]
    tokens = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": config.pad_token}
    _write_json(folder / "vocab.json", {token: index for index, token in enumerate(vocabulary)})
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    _write_json(folder / "special_tokens_map.json", tokens)
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": model_max_length, "do_lower_case": True, **tokens},
    )


def _alphabet() -> list[str]:
    """A visible character for every byte, in the order of GPT-2's and CLIP's vocabularies."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [*map(chr, visible), *(chr(256 + index) for index in range(len(hidden)))]


def _merges() -> Iterator[tuple[str, str]]:
    """A token and one letter more, inside a word and at its end: all of two letters, then all of three, and on.

    Every token comes about in one way only. Without end.
    """
    stems: Iterator[str] = iter(ascii_lowercase)
    while True:
        longer = []
        for stem in stems:
            for letter in ascii_lowercase:
                yield stem, letter
                yield stem, letter + END_OF_WORD
                longer.append(stem + letter)
        stems = chain(longer)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
