"""CLIP-sized tokenizer folders, in the two-file form that diffusers repositories ship."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

Merge = tuple[str, str]

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END = "</w>"
# CLIP's 49408 tokens: a letter for each byte, each also as the end of a word, the merges' products, two special ones.
MERGES = 49_408 - 2 * 256 - 2
# Name and padding token of the made-up tokenizers: those of Stable Diffusion 1 and 2.
SYNTHETIC = {"synthetic": EOS, "synthetic, padded as version 2": "!"}


def byte_letters() -> list[str]:
    """The printable letters that stand for bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def synthetic_merges(seed: int = 0) -> list[Merge]:
    """As many merges as CLIP has, at random; short tokens of frequent letters are merged most."""
    # Only `random()` is promised to give the same numbers in every Python.
    draw = random.Random(seed).random
    frequent = list("etaoinshrdlucmfwygpbvkxqjz0123456789")
    letters = frequent + [letter for letter in byte_letters() if letter not in frequent]
    begins, ends = list(letters), [letter + END for letter in frequent] + letters
    known = {*letters, *(letter + END for letter in letters)}
    merges: list[Merge] = []
    while len(merges) < MERGES:
        left, right = begins[int(len(begins) * draw() ** 3)], ends[int(len(ends) * draw() ** 3)]
        union = left + right
        if union not in known:
            known.add(union)
            merges.append((left, right))
            if not union.endswith(END):
                begins.append(union)
            ends.append(union)
    return merges


def write_folder(folder: Path, merges: Iterable[Merge], pad: str = EOS) -> None:
    """Writes vocab.json, merges.txt and the configuration files of a Stable Diffusion tokenizer.

    Args:
        folder: Where to; made where it is absent.
        merges: By rank.
        pad: The padding token: that of Stable Diffusion 2 is "!".
    """
    folder.mkdir(parents=True, exist_ok=True)
    merges = list(merges)
    letters = byte_letters()
    tokens = [*letters, *(letter + END for letter in letters), *map("".join, merges), BOS, EOS]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]

    def described(token: str) -> dict[str, object]:
        return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    named = {"bos_token": described(BOS), "eos_token": described(EOS), "unk_token": described(EOS)}
    config = {name: {"__type": "AddedToken", **token} for name, token in named.items()} | {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
    }
    files = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(lines) + "\n",
        "special_tokens_map.json": json.dumps({**named, "pad_token": pad}),
        "tokenizer_config.json": json.dumps(config),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def composed_texts(merges: list[Merge], count: int, seed: int = 1) -> Iterator[str]:
    """Texts made of whole tokens of the vocabulary, so that long chains of merges are taken."""
    draw = random.Random(seed).random
    bytes_of = dict(zip(byte_letters(), _byte_order(), strict=True))
    while count:
        words = ["".join(merges[int(len(merges) * draw())]) for _ in range(4)]
        raw = b" ".join(bytes(bytes_of[letter] for letter in word.replace(END, "")) for word in words)
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            continue
        count -= 1


def _byte_order() -> list[int]:
    letters = byte_letters()
    same = {ord(letter) for letter in letters if ord(letter) < 256}
    rest = iter(byte for byte in range(256) if byte not in same)
    return [ord(letter) if ord(letter) < 256 else next(rest) for letter in letters]
