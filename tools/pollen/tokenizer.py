"""CLIP's byte-level BPE, trained on the captions."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from tools.pollen import scenes
from tools.pollen.errors import RecipeError
from tools.pollen.files import whole
from tools.pollen.networks import transformers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tools.pollen.kinds import Tokenizer
    from tools.pollen.settings import Settings

VOCABULARY = 4294
LENGTH = 32
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def run(settings: Settings) -> dict[str, Any]:
    """Write the folder `tokenizer`: that of `start`, or one trained on the captions."""
    if settings.start is not None:
        with whole(settings.tokenizer) as draft:
            copy(settings.start / "tokenizer", draft)
        return {"entries": len(load(settings.tokenizer)), "from": str(settings.start)}
    texts = sorted({caption for scene in scenes.load(settings.scenes) for caption in scene.captions})
    entries, merges = train(texts)
    with whole(settings.tokenizer) as draft:
        save(entries, merges, draft)
    whole_words = sum(entry.endswith(WORD_END) for entry in entries)
    longest = max(len(ids) for ids in load(settings.tokenizer)(texts).input_ids)
    return {"entries": len(entries), "ending a word": whole_words, "longest caption": longest}


def train(texts: Iterable[str], vocabulary: int = VOCABULARY) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn merges from texts and lay the entries out in CLIP's order.

    Args:
        texts: What to learn from; their order decides between merges that occur equally often.
        vocabulary: Most entries: 256 bytes, 256 bytes that end a word, merges, and the two special tokens.

    Returns:
        The entries with their ids, and the merges; fewer than asked where the texts give no more.
    """
    # Every merge that the texts give is learned, and cut here: the library counts special tokens first, CLIP last.
    learned = transformers.CLIPTokenizer().train_new_from_iterator([list(texts)], 1_000_000, show_progress=False)
    model = json.loads(learned.backend_tokenizer.to_str())["model"]
    entries = [*alphabet(), *(letter + WORD_END for letter in alphabet())]
    known = set(entries)
    merges: list[tuple[str, str]] = []
    for left, right in model["merges"]:
        if len(entries) == vocabulary - 2:
            break
        merges.append((left, right))
        # Two merges may make the same entry.
        if left + right not in known:
            known.add(left + right)
            entries.append(left + right)
    return {entry: at for at, entry in enumerate([*entries, BEGIN, END])}, merges


def alphabet() -> list[str]:
    """Return the printable letters that stand for the 256 bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(256 - len(printable))]


def save(entries: dict[str, int], merges: list[tuple[str, str]], folder: Path) -> None:
    """Write the tokenizer in both forms: `tokenizer.json`, and `vocab.json` with `merges.txt`."""
    tokenizer = transformers.CLIPTokenizer(vocab=entries, merges=merges, model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))


def copy(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files.

    Raises:
        RecipeError: One is missing.
    """
    folder.mkdir(parents=True)
    for name in FILES:
        if not (source / name).is_file():
            raise RecipeError(f"start: {source} has no {name}, allowed is a tokenizer of {', '.join(FILES)}")
        shutil.copyfile(source / name, folder / name)


def load(folder: Path) -> Tokenizer:
    """Read a tokenizer's folder."""
    read: Tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    return read
