"""Token ids, for pollen's tokenizer and for made-up ones of CLIP's size and form."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from sd_rbee import models
from tools.clip_vocabulary import merges as clip_merges
from tools.goldens.store import Golden
from tools.goldens.texts import texts
from tools.goldens.vocabulary import EOS, SYNTHETIC, Merge, composed_texts, synthetic_merges, write_folder
from tools.reference.tokenizer import Tokenizer


def make() -> Golden:
    """Each case is one tokenizer and one text."""
    golden = Golden([])
    pollen = Tokenizer(models.resolve("pollen") / "tokenizer")
    for text in texts():
        golden.cases.append(_case("pollen", pollen, text) | {"prepared": pollen.prepare(text)})
    merges = synthetic_merges()
    for name, pad in SYNTHETIC.items():
        _add(golden, name, merges, pad, (*texts(), *composed_texts(merges, 40)))
    _add(golden, "CLIP", clip_merges(), EOS, composed_texts(clip_merges(), 6))
    return golden


def _add(golden: Golden, name: str, merges: list[Merge], pad: str, of: Iterable[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), merges, pad)
        tokenizer = Tokenizer(Path(folder))
    for text in of:
        golden.cases.append(_case(name, tokenizer, text))


def _case(name: str, tokenizer: Tokenizer, text: str) -> dict[str, object]:
    return {"tokenizer": name, "text": text, "ids": tokenizer.encode(text)}
