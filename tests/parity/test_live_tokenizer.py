"""Token ids against transformers' CLIPTokenizer, live, for any text."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import needs_torch  # noqa: F401
from sd_rbee import models
from sd_rbee.backend import native
from tools.clip_vocabulary import merges
from tools.goldens.texts import texts
from tools.goldens.vocabulary import synthetic_merges, write_folder
from tools.reference.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

EXAMPLES = 3000
Both = tuple[native.Tokenizer, Tokenizer]
_PIECES = [
    *(word for text in texts() for word in text[:200].split(" ")),
    *(
        "<|endoftext|>",
        "<|startoftext|>",
        "<|ENDOFTEXT|>",
        "'s",
        "'LL",
        "</w>",
        "\u0301",
        "\u200d",
        "\ufe0f",
        "\U0001f3fd",
    ),
    *("a", "the", "robot", "painting", "of", "in", "4k", "(", ")", ",", ".", "!", "  ", "\n", "\t", "\x00", "\xa0"),
]
_TEXT = st.one_of(
    st.text(max_size=120),
    st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=60).map("".join),
    st.lists(st.sampled_from(_PIECES) | st.text("abcdefghijklmnopqrstuvwxyz'", max_size=12), max_size=40).map(" ".join),
)


@pytest.fixture(scope="module", params=["pollen", "synthetic", "CLIP", "CLIP, padded as version 2"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[native.Tokenizer, Tokenizer]:
    """One folder, read by both sides."""
    folder = models.resolve("pollen") / "tokenizer"
    if request.param != "pollen":
        folder = tmp_path_factory.mktemp("tokenizer")
        made = synthetic_merges() if request.param == "synthetic" else merges()
        write_folder(folder, made, *(["!"] if "padded" in request.param else []))
    return native.Tokenizer(str(folder)), Tokenizer(folder)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=_TEXT)
@example(text="\u0130\u0307 \u1e9e \ufb01")
def test_any_text(both: Both, text: str) -> None:
    ours, theirs = both
    assert ours.encode(text) == theirs.encode(text)


def _every_character() -> Iterator[str]:
    """All of Unicode, in texts of a thousand characters, alone and in words."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 1000):
        piece = characters[start : start + 1000]
        yield " ".join(piece)
        yield "".join(f"a{character}b" for character in piece)


def test_every_character(both: Both) -> None:
    ours, theirs = both
    wrong = [ascii(text[:3]) for text in _every_character() if ours.encode(text) != theirs.encode(text)]
    assert wrong == []


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=_TEXT)
def test_any_text_with_clips_own(clip: Both, text: str) -> None:
    ours, theirs = clip
    assert ours.encode(text) == theirs.encode(text)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """CLIP's own tokenizer, as single files are loaded with it."""
    folder = tmp_path_factory.mktemp("clip")
    write_folder(folder, merges())
    return native.Tokenizer.clip(), Tokenizer(folder)


def test_prompts_of_the_embedded_model(pollen: native.Pipeline) -> None:
    theirs = Tokenizer(models.resolve("pollen") / "tokenizer")
    wrong = [ascii(text) for text in texts() if pollen.tokenize(text) != theirs.prepare(text)]
    assert wrong == []
