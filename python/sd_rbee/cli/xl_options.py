"""Options that SDXL alone takes."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _pair(flag: str, names: str, text: str) -> Callable[[Decorated], Decorated]:
    return click.option(flag, type=int, nargs=2, metavar=names, help=text)


def xl_options(command: Decorated) -> Decorated:
    """`--prompt-2`, the sizes that SDXL is told, and their negatives."""
    for option in (
        _pair("--negative-target-size", "HEIGHT WIDTH", "The same of the negative prompt."),
        _pair("--negative-crops-coords-top-left", "TOP LEFT", "The same of the negative prompt."),
        _pair("--negative-original-size", "HEIGHT WIDTH", "The same of the negative prompt."),
        _pair("--target-size", "HEIGHT WIDTH", "SDXL: the size that it believes to be asked for."),
        _pair("--crops-coords-top-left", "TOP LEFT", "SDXL: where it believes its training picture to be cropped."),
        _pair("--original-size", "HEIGHT WIDTH", "SDXL: the size that it believes its training picture to have had."),
        click.option("--negative-2", "negative_prompt_2", metavar="TEXT", help="The same of the negative prompt."),
        click.option("--prompt-2", metavar="TEXT", help="SDXL: what its second text encoder reads instead."),
    ):
        command = option(command)
    return command
