"""transformers' CLIPTokenizer."""

from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer


class Tokenizer:
    """A tokenizer folder as transformers reads it."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder)

    def encode(self, text: str) -> list[int]:
        """All ids, without begin and end token, not truncated."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    def prepare(self, text: str) -> list[int]:
        """The ids of a prompt as diffusers gives them to the text encoder."""
        length = self._tokenizer.model_max_length
        made = self._tokenizer(text, padding="max_length", max_length=length, truncation=True)
        ids: list[int] = made.input_ids
        return ids
