"""Options of drawing over an image."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _read_stdin(_context: click.Context, _parameter: click.Parameter, path: str | None) -> str | bytes | None:
    """The path, or for - what is piped in."""
    if path != "-":
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise click.BadParameter("stdin is a terminal or closed; redirect a file to it.")
    return sys.stdin.buffer.read()


def _split(_context: click.Context, _parameter: click.Parameter, border: str | None) -> tuple[int, ...] | None:
    """Numbers with commas between them."""
    if border is None:
        return None
    try:
        sides = tuple(int(side) for side in border.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 4:
        raise click.BadParameter(f"{border[:80]!r} is not four whole numbers, such as 0,64,0,64.")
    return sides


def image_options(command: Decorated) -> Decorated:
    """`--image`, `--mask` and what goes with them."""
    for option in (
        click.option(
            "--outpaint",
            callback=_split,
            metavar="LEFT,TOP,RIGHT,BOTTOM",
            help="Pixels to draw beyond the sides of the image.",
        ),
        click.option(
            "--keep-unmasked/--no-keep-unmasked",
            default=True,
            show_default=True,
            help="Paste the image back where the mask is black, bit by bit and at its own size.",
        ),
        click.option(
            "--padding-mask-crop",
            type=int,
            metavar="PIXELS",
            help="Draw the masked part alone, with so much around it, enlarged to --width and --height.",
        ),
        click.option(
            "--mask-blur", type=float, default=0.0, show_default=True, metavar="PIXELS", help="Soften the mask's edges."
        ),
        click.option(
            "--strength",
            type=float,
            help="How much of the image is drawn anew, above 0 to 1; the model's own if left out.",
        ),
        click.option(
            "--mask",
            "mask_image",
            callback=_read_stdin,
            metavar="FILE",
            help="Of its size, white where it is drawn anew. Left out: what is transparent in the image, or all.",
        ),
        click.option("--image", callback=_read_stdin, metavar="FILE", help="What to draw over; - is stdin."),
    ):
        command = option(command)
    return command
