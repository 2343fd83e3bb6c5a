"""Token ids, for pollen's tokenizer and for made-up ones of CLIP's size and form."""

import tempfile
from pathlib import Path

from sd_rbee import models
from tools.goldens.store import Golden
from tools.goldens.texts import texts
from tools.goldens.vocabulary import SYNTHETIC, composed_texts, synthetic_merges, write_folder
from tools.reference.tokenizer import Tokenizer


def make() -> Golden:
    """Each case is one tokenizer and one text."""
    golden = Golden([])
    pollen = Tokenizer(models.resolve("pollen") / "tokenizer")
    for text in texts():
        golden.cases.append(_case("pollen", pollen, text) | {"prepared": pollen.prepare(text)})
    merges = synthetic_merges()
    for name, pad in SYNTHETIC.items():
        with tempfile.TemporaryDirectory() as folder:
            write_folder(Path(folder), merges, pad)
            tokenizer = Tokenizer(Path(folder))
        for text in (*texts(), *composed_texts(merges, 40)):
            golden.cases.append(_case(name, tokenizer, text))
    return golden


def _case(name: str, tokenizer: Tokenizer, text: str) -> dict[str, object]:
    return {"tokenizer": name, "text": text, "ids": tokenizer.encode(text)}
