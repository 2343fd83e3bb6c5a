"""A worker whose model takes its time to load, and whose reading of pictures never comes back."""

import sys
import time
from typing import Any, NoReturn

from sd_rbee import Pipeline
from sd_rbee.cli.worker import any_device
from sd_rbee.server.orders import Orders

LOADING_SECONDS = 1.0


def never(*_: Any) -> NoReturn:  # noqa: ANN401 - as the other
    print("asleep", file=sys.stderr, flush=True)
    while True:
        time.sleep(60)


def install() -> None:
    load = Pipeline.load

    def load_slowly(*arguments: Any, **options: Any) -> Pipeline:  # noqa: ANN401 - as the other
        time.sleep(LOADING_SECONDS)
        return load(*arguments, **options)

    Pipeline.load = load_slowly  # type: ignore[method-assign]
    Orders.img2img = never  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    install()
    any_device()
