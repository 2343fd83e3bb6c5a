"""Prompts in the webui's syntax, and the models that read them."""

from tools.goldens.checkpoints import CHECKPOINTS, FAMILIES
from tools.random_checkpoint import CheckpointConfig

# One text encoder that pads with the end token, one that pads with another, two of both kinds, and small windows.
MODELS: dict[str, CheckpointConfig] = {
    **{name: CHECKPOINTS[name] for name in ("v1", "v2")},
    **{name: FAMILIES[name] for name in ("xl", "xl, other widths and depths")},
}
# They meet every rule.
PROMPTS = (
    "",
    "a robot",
    "a (red) apple [on] a ((blue:1.3) table:0.8), \\(really\\)",
    "(unbalanced [twice, and :1.5) (half",
    "one BREAK (two:-0.5)\nBREAK three",
    "(inside BREAK brackets:1.2) unBREAKable",
    "an apple, a pear, a plum and a very long list without any more commas " * 4,
    "tokens " * 40 + ", " + "one after the (comma:1.4) " * 12,
    "a, b, c, (d, e, f, g:1.21) " * 15,
    "the <|endoftext|> in the middle (of:1.2) it",
    "\u732b \U0001f916 (\u00fcml\u00e4ute:1.3) on a sofa",
)
