"""Functions that take `GenerationParameters`, as `help` and `inspect` show them: one by one."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sd_rbee.spec import GenerationParameters, GenerationSpec

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_MARK = "**parameters:"


def takes_parameters(function: Decorated) -> Decorated:
    """Puts the parameters in the place of `**parameters` in the function's signature, and of its line in `Args`."""
    signature = inspect.signature(function)
    own = list(signature.parameters.values())
    assert own[-1].kind is inspect.Parameter.VAR_KEYWORD
    names = [parameter.name for parameter in own]
    ordered = [*own[:-1], *(parameter for parameter in _parameters() if parameter.name not in names)]
    ordered.sort(key=lambda parameter: parameter.kind)
    function.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
    if function.__doc__ is not None:
        lines = function.__doc__.splitlines()
        marked = next((index for index, line in enumerate(lines) if line.strip().startswith(_MARK)), None)
        if marked is not None:
            indent = lines[marked][: -len(lines[marked].lstrip())]
            lines[marked : marked + 1] = textwrap.indent(_described(), indent).splitlines()
            function.__doc__ = "\n".join(lines)
    return function


def _parameters() -> Iterator[inspect.Parameter]:
    """As keyword arguments, with the types that callers may give."""
    defaults = inspect.signature(GenerationSpec).parameters
    for name, type in GenerationParameters.__annotations__.items():
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name].default, annotation=type)


def _described() -> str:
    return textwrap.dedent((GenerationParameters.__doc__ or "").partition("Attributes:\n")[2]).strip()
