"""Token ids against transformers' CLIPTokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.store import Golden
from tools.goldens.vocabulary import SYNTHETIC, synthetic_merges, write_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tokenizer folders by the names that the goldens know them by."""
    merges = synthetic_merges()
    made = {"pollen": models.resolve("pollen") / "tokenizer"}
    for name, pad in SYNTHETIC.items():
        made[name] = tmp_path_factory.mktemp("tokenizer")
        write_folder(made[name], merges, pad)
    return made


@pytest.mark.parametrize("name", ["pollen", *SYNTHETIC])
def test_ids_are_those_of_transformers(name: str, folders: dict[str, Path], golden: Callable[[str], Golden]) -> None:
    tokenizer = native.Tokenizer(str(folders[name]))
    cases = [case for case in golden("tokenizer").cases if case["tokenizer"] == name]
    wrong = [ascii(case["text"]) for case in cases if tokenizer.encode(case["text"]) != case["ids"]]
    assert cases
    assert wrong == []


def test_clips_own_ids_are_those_of_transformers(golden: Callable[[str], Golden]) -> None:
    tokenizer = native.Tokenizer.clip()
    cases = [case for case in golden("tokenizer").cases if case["tokenizer"] == "CLIP"]
    wrong = [ascii(case["text"]) for case in cases if tokenizer.encode(case["text"]) != case["ids"]]
    assert cases
    assert wrong == []
    assert tokenizer.encode("a photo of an astronaut riding a horse") == [320, 1125, 539, 550, 18376, 6765, 320, 4558]


def test_prompts_are_cut_and_padded_as_diffusers_does(pollen: native.Pipeline, golden: Callable[[str], Golden]) -> None:
    cases = [case for case in golden("tokenizer").cases if case["tokenizer"] == "pollen"]
    wrong = [ascii(case["text"]) for case in cases if pollen.tokenize(case["text"]) != case["prepared"]]
    assert any(len(case["ids"]) > len(case["prepared"]) for case in cases)
    assert wrong == []
