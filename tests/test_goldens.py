"""The golden files themselves."""

import pytest

from tools.goldens.__main__ import PARTS
from tools.goldens.store import FOLDER, load


@pytest.mark.parametrize("part", PARTS)
def test_a_part_says_what_it_was_made_with(part: str) -> None:
    golden = load(part)
    assert {"torch", "diffusers", "transformers"} <= golden.made_with.keys()
    assert golden.cases


def test_goldens_stay_small() -> None:
    files = list(FOLDER.iterdir())
    assert {file.stem for file in files} == set(PARTS)
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) < 500_000
    assert sum(sizes) < 2_250_000
