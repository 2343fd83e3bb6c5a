"""Options that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from sd_rbee import models

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class State:
    """What the options of a command line set for its end.

    Attributes:
        debug: Whether a failure shows its traceback.
        backends: Kinds of devices that a worker may take, the one to take unasked first.
    """

    debug: bool = False
    backends: tuple[str, ...] = ("auto", "cpu", "cuda", "metal")

    def set_debug(self) -> None:
        """Shows tracebacks, and on stderr what the package logs."""
        self.debug = True
        import logging

        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("sd_rbee").setLevel(logging.INFO)


def _set_debug(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.find_root().ensure_object(State).set_debug()


def debug_option(command: Decorated) -> Decorated:
    """`--debug`, before or after the command's name."""
    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the log and tracebacks; SD_RBEE_DEBUG=1 does the same.",
    )(command)


def model_options(command: Decorated) -> Decorated:
    """`--model`, `--device`, `--dtype` and `--threads`."""
    for option in (
        click.option(
            "--threads",
            "num_threads",
            type=int,
            help="Threads that compute; as SD_RBEE_THREADS, else one for each core, if left out.",
        ),
        click.option(
            "--dtype",
            metavar="TYPE",
            default="auto",
            show_default=True,
            help="f32, f16, bf16 or int8; not f16 on the CPU. auto is bf16 there where that is faster and the model is "
            "wide enough, else f32.",
        ),
        click.option("--device", metavar="DEVICE", default="auto", show_default=True, help="cpu, cuda:0, metal:0 …"),
        click.option(
            "--model",
            metavar="MODEL",
            default=models.DEFAULT,
            show_default=True,
            help="An alias, a folder, a file, or owner/name of the Hugging Face hub; `sd-rbee models` lists them.",
        ),
    ):
        command = option(command)
    return command
