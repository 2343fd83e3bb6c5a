"""What a failure means to a shell."""

import errno
from collections.abc import Sequence

import click

from sd_rbee.errors import Cancelled, CheckpointError, DeviceError, HiveError, InvalidParamsError, ModelNotFoundError

_EXIT_CODES: list[tuple[tuple[type[BaseException], ...], int]] = [
    ((InvalidParamsError,), 2),
    ((ModelNotFoundError, CheckpointError), 3),
    ((DeviceError, MemoryError), 4),
    ((HiveError,), 6),
    ((Cancelled, KeyboardInterrupt, click.Abort), 130),
]


def exit_code(error: BaseException) -> int:
    """The exit code of a run that ended with this error."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return 5
    return next((code for classes, code in _EXIT_CODES if isinstance(error, classes)), 1)


def message(error: BaseException, parameters: Sequence[click.Parameter]) -> str:
    """One line on the error, with a parameter called as it is on the command line."""
    if isinstance(error, InvalidParamsError):
        spelled = {
            parameter.name: parameter.opts[-1] for parameter in parameters if isinstance(parameter, click.Option)
        }
        text = f"{spelled.get(error.field, error.field)}: got {error.given}, allowed is {error.allowed}"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif exit_code(error) == 130:
        text = "cancelled"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())
