"""Prompts in the syntax of AUTOMATIC1111's webui, after its documented rules, with transformers' text encoders."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

_SIGNS = re.compile(r"(?P<escape>\\[()\[\]\\]?)|:(?P<weight>[+-]?[.\d]+)\)|(?P<bracket>[()\[\]])|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_CLOSES = {")": "(", "]": "["}
_FACTORS = {"(": 1.1, "[": 1 / 1.1}
# How far from the end of a chunk a comma may be for the next to begin behind it.
_BACKTRACK = 20


def parse(prompt: str) -> list[tuple[str | None, float]]:
    """Texts with their weights; None is a break between chunks."""
    texts: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(kind: str, factor: float) -> None:
        begin = opened[kind].pop()
        texts[begin:] = [(text, weight * factor) for text, weight in texts[begin:]]

    for match in _SIGNS.finditer(prompt):
        found, bracket = match.group(), match["bracket"]
        if match["escape"] is not None:
            texts.append((found[1:], 1.0))
        elif match["weight"] is not None and opened["("]:
            close("(", float(match["weight"]))
        elif bracket in opened:
            opened[bracket].append(len(texts))
        elif bracket is not None and opened[_CLOSES[bracket]]:
            close(_CLOSES[bracket], _FACTORS[_CLOSES[bracket]])
        else:
            for number, part in enumerate(_BREAK.split(found)):
                texts += [("BREAK", -1.0)] * (number > 0) + [(part, 1.0)]
    for kind, factor in _FACTORS.items():
        while opened[kind]:
            close(kind, factor)
    merged: list[tuple[str, float]] = []
    for text, weight in texts:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return [(None, 1.0) if part == ("BREAK", -1.0) else part for part in merged]


class Encoder:
    """A text encoder of a model folder and its tokenizer."""

    def __init__(self, folder: Path, suffix: str, dtype: torch.dtype, *, is_xl: bool) -> None:
        kind: Any = CLIPTextModelWithProjection if suffix else CLIPTextModel
        self._tokenizer: Any = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        self._model = kind.from_pretrained(folder / f"text_encoder{suffix}", torch_dtype=dtype).eval()
        self._is_xl = is_xl
        self._room = self._model.config.max_position_embeddings - 2

    def chunks(self, prompt: str) -> list[list[tuple[int, float]]]:
        """Ids with their weights, without begin, end and padding."""
        comma = self._tokenizer.get_vocab().get(",</w>")
        chunks: list[list[tuple[int, float]]] = [[]]
        # Where the last chunk may be cut; a comma that begins a chunk because the one before was full is none.
        cut: int | None = None
        for text, weight in parse(prompt):
            if text is None:
                chunks.append([])
                cut = None
                continue
            for token in self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids:
                if len(chunks[-1]) == self._room:
                    near = cut is not None and token != comma and self._room - cut < _BACKTRACK
                    moved = chunks[-1][cut:] if near else []
                    del chunks[-1][self._room - len(moved) :]
                    chunks.append(moved)
                    cut = None
                elif token == comma:
                    cut = len(chunks[-1]) + 1
                chunks[-1].append((token, weight))
        if len(chunks) > 1 and not chunks[-1]:
            chunks.pop()
        return chunks

    def encode(self, prompt: str, clip_skip: int | None, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states (1, windows, width) in `count` chunks, and the first one's pooled state."""
        chunks = self.chunks(prompt)
        encoded = [self._encode(chunk, clip_skip) for chunk in chunks + [[]] * (count - len(chunks))]
        return torch.cat([hidden for hidden, _ in encoded], dim=1), encoded[0][1]

    def _encode(
        self, chunk: list[tuple[int, float]], clip_skip: int | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        begin, end, pad = (getattr(self._tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        ids = [begin, *(token for token, _ in chunk), end]
        if pad != end:
            del ids[ids.index(end) + 1 :]
        ids += [pad] * (self._room + 2 - len(ids))
        weights = [1.0, *(weight for _, weight in chunk)]
        weights += [1.0] * (self._room + 2 - len(weights))
        with torch.no_grad():
            made = self._model(torch.tensor([ids]), output_hidden_states=True)
            hidden = made.hidden_states[-(1 + self._is_xl + (clip_skip or 0))]
            if not self._is_xl:
                hidden = getattr(self._model, "text_model", self._model).final_layer_norm(hidden)
            weighted = hidden * torch.tensor(weights, dtype=torch.float64)[None, :, None]
            if not all(math.isclose(weight, 1) for weight in weights):
                weighted *= hidden.mean() / weighted.mean()
        return weighted, getattr(made, "text_embeds", None)


class Prompts:
    """The text encoders of a model folder in diffusers layout, in f64 or, to see what that rounds away, in f32."""

    def __init__(self, folder: Path, *, is_double: bool = True) -> None:
        is_xl, dtype = (folder / "text_encoder_2").is_dir(), torch.float64 if is_double else torch.float32
        self._encoders = [Encoder(folder, suffix, dtype, is_xl=is_xl) for suffix in ("", "_2")[: 1 + is_xl]]

    def encode(self, prompt: str, clip_skip: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """What the UNet reads, (1, windows, widths of all encoders), and the pooled state (1, width)."""
        count = max(len(encoder.chunks(prompt)) for encoder in self._encoders)
        made = [encoder.encode(prompt, clip_skip, count) for encoder in self._encoders]
        pooled = made[-1][1]
        return torch.cat([hidden for hidden, _ in made], dim=2).numpy(), None if pooled is None else pooled.numpy()
