"""A slow worker whose heartbeats do not end at once, so that its last words come after its sockets are closed."""

import asyncio
from collections.abc import Callable

import slow_worker

from sd_rbee.cli.worker import any_device
from sd_rbee.hive import HiveClient, Report
from sd_rbee.server import process

# More than what is left to streams.
ENDING_SECONDS = 0.8
# As on a machine that stalls for a while: the limits themselves are tested elsewhere.
LIMIT_SECONDS = 60.0


def install() -> None:
    slow_worker.install()
    process._SECONDS_FOR_FAREWELL = process._SECONDS_FOR_ALL = LIMIT_SECONDS
    beat_queen = HiveClient.beat_queen

    async def end_late(
        self: HiveClient, report: Callable[[], Report], status: Callable[[], str], ready: asyncio.Event
    ) -> None:
        try:
            await beat_queen(self, report, status, ready)
        finally:
            await asyncio.sleep(ENDING_SECONDS)

    HiveClient.beat_queen = end_late  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    any_device()
