"""CLIP's merges as the crate embeds them: `python -m tools.clip_vocabulary bpe_simple_vocab_16e6.txt.gz`.

The file is OpenAI's (https://github.com/openai/CLIP, MIT licence), and packages such as `open_clip_torch` and
`clip-anytorch` carry it. CLIP uses its first 48894 merges. A merge is stored as the ids of its two halves, two bytes
each, which takes less than the text does compressed, and needs nothing to unpack it.
"""

import argparse
import gzip
import struct
from pathlib import Path

from tools.goldens.vocabulary import END, MERGES, Merge, byte_letters

FILE = Path(__file__).parents[1] / "rust" / "src" / "tokenizer" / "clip_merges.bin"


def merges() -> list[Merge]:
    """The embedded merges, by rank."""
    tokens = _letters()
    made = []
    for left, right in struct.iter_unpack("<HH", FILE.read_bytes()):
        made.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return made


def pack(text: str) -> bytes:
    """The merges of `bpe_simple_vocab_16e6.txt`, whose first line is a heading."""
    ids = {token: index for index, token in enumerate(_letters())}
    packed = bytearray()
    for line in text.split("\n")[1 : MERGES + 1]:
        left, right = line.split()
        packed += struct.pack("<HH", ids[left], ids[right])
        ids[left + right] = len(ids)
    return bytes(packed)


def _letters() -> list[str]:
    return [*byte_letters(), *(letter + END for letter in byte_letters())]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.clip_vocabulary", description="Pack CLIP's merges.")
    parser.add_argument("path", type=Path, help="bpe_simple_vocab_16e6.txt.gz")
    FILE.write_bytes(pack(gzip.decompress(parser.parse_args().path.read_bytes()).decode()))


if __name__ == "__main__":
    main()
