"""The command group, and the one place where failures become messages and exit codes."""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

import click

import sd_rbee
from sd_rbee.cli.bench import bench
from sd_rbee.cli.failures import exit_code, message
from sd_rbee.cli.generate import generate
from sd_rbee.cli.info import info
from sd_rbee.cli.models import models
from sd_rbee.cli.options import State, debug_option
from sd_rbee.cli.pull import pull
from sd_rbee.cli.serve import serve
from sd_rbee.cli.verify import verify


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"sd-rbee {sd_rbee.__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@debug_option
def app() -> None:
    """Stable Diffusion without PyTorch.

    Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 no usable model, 4 device or memory, 5 port taken, 6 hive
    refused, 130 interrupted.
    """


for command in (bench, generate, info, models, pull, serve, verify):
    app.add_command(command)


def run(
    arguments: Sequence[str] | None = None,
    *,
    command: click.Command = app,
    name: str = "sd-rbee",
    state: State | None = None,
) -> int:
    """Runs one command line and returns its exit code.

    Args:
        arguments: The words behind the program's name; the process's own if None.
        command: What they are for.
        name: The program's name.
        state: What the command starts from.
    """
    state = state or State()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        click.echo("sd-rbee: stdout is closed, there is nowhere to print results", err=True)
        return 1
    _keep_odd_names(sys.stdout)
    try:
        if os.environ.get("SD_RBEE_DEBUG", "") not in ("", "0"):
            state.set_debug()
        outcome = command.main(args=arguments, prog_name=name, standalone_mode=False, obj=state)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        _abandon_stdout()
        return 1
    except (Exception, KeyboardInterrupt, click.Abort) as error:
        if state.debug:
            traceback.print_exception(error)
        else:
            click.echo(f"{name}: {message(error, _parameters(command))}", err=True)
        if isinstance(error, OSError):
            # It may be stdout's own, which would fail again.
            _abandon_stdout()
        return exit_code(error)
    return outcome if isinstance(outcome, int) else 0


def main() -> NoReturn:
    """The entry point of the command."""
    sys.exit(run())


def _parameters(command: click.Command) -> list[click.Parameter]:
    """A command's own and those of its subcommands; where they share a name they share the flag."""
    under = command.commands.values() if isinstance(command, click.Group) else ()
    return [parameter for one in (*under, command) for parameter in one.params]


def _keep_odd_names(stream: TextIO) -> None:
    """Lets stdout print any file name that the system may give, whatever its encoding."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
        reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _abandon_stdout() -> None:
    """Nobody can read any more; the interpreter's own flush at exit must not complain of it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
