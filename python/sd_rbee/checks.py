"""Values of the right type, or errors that name the parameter; ranges are the engine's to check."""

import math
import numbers
import operator
import reprlib

from sd_rbee.errors import InvalidParamsError

INT_LIMIT = 2**32
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 200


def shorten(value: object) -> str:
    """A value's text for a message, at most 80 characters, however large or odd the value is."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, str | bytes | bytearray):
        value = value[:81]
    try:
        text = _REPR.repr(value)
    except Exception:
        # The message must not fail where the value's own text does.
        text = f"one {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"


def check_text(field: str, value: object) -> str:
    """The value as a str that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "one str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidParamsError(field, f"a lone surrogate at {error.start}", "text that UTF-8 can hold") from None
    return value


def check_int(field: str, value: object, limit: int = INT_LIMIT, *, least: int = 1) -> int:
    """The value as an int from `least` up to `limit`, which is not one of them."""
    allowed = f"an int from {least} to {limit - 1}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", allowed)
    try:
        number = operator.index(value)
    except Exception:
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", allowed) from None
    if not least <= number < limit:
        raise InvalidParamsError(field, shorten(number), allowed)
    return number


def check_int_from_zero(field: str, value: object) -> int:
    """The value as an int from 0."""
    return check_int(field, value, least=0)


def check_ints(field: str, value: object, names: tuple[str, ...], *, least: int) -> tuple[int, ...]:
    """The value as one int for each of `names`; a list is taken as well, as JSON has no tuples."""
    if not isinstance(value, list | tuple) or len(value) != len(names):
        given = f"{type(value).__name__} {shorten(value)}"
        raise InvalidParamsError(field, given, f"{len(names)} ints, ({', '.join(names)})")
    return tuple(check_int(field, number, least=least) for number in value)


def check_float(field: str, value: object) -> float:
    """The value as a finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "a finite number")
    try:
        number = float(value)
    except Exception:
        # Too large for a float above all; whatever else a number of somebody's own may raise is no number either.
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParamsError(field, shorten(value), "a finite number")
    return number


def check_bool(field: str, value: object) -> bool:
    """The value as a bool."""
    if not isinstance(value, bool):
        raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", "True, False or None")
    return value
