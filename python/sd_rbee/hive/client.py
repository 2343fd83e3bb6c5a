"""The one HTTP client that calls out: no redirects, no proxies, short patience, the worker's token."""

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

_log = logging.getLogger("sd_rbee.hive")
READY_PATH = "/v1/workers/ready"
HEARTBEAT_PATH = "/v1/heartbeat"
QUEEN_PATH = "/v1/worker-heartbeat"
# Seconds before each try: with a hive that answers at once, tries at 0, 1, 2, 4 and 8 seconds.
READY_DELAYS = (0.0, 1.0, 1.0, 2.0, 4.0)
TIMEOUT_SECONDS = 5.0
_RETRIED_CLIENT_ERRORS = {404, 408, 425, 429}


@dataclass(frozen=True, slots=True)
class Report:
    """The worker as a hive is told of it; one body for all of their generations."""

    worker_id: str
    url: str
    uri: str
    model_ref: str
    backend: str
    device: int
    vram_bytes: int
    memory_bytes: int
    memory_architecture: str
    worker_type: str
    capabilities: list[str]
    protocol: str
    model_version: str
    version: str


class HiveClient:
    """Calls to a hive and a queen; failures are logged, never raised.

    Args:
        callback_url: Where a hive hears that the worker is ready.
        queen_url: Where a queen hears heartbeats.
        token: Sent as bearer token.
        heartbeat_seconds: Time between two heartbeats.
    """

    def __init__(
        self,
        *,
        callback_url: str | None,
        queen_url: str | None,
        token: str | None,
        heartbeat_seconds: float = 30.0,
    ) -> None:
        self._heartbeat_seconds = heartbeat_seconds
        self._ready_url = None if callback_url is None else ready_url(callback_url)
        self._heartbeat_url = None if callback_url is None else origin(callback_url) + HEARTBEAT_PATH
        self._queen_url = None if queen_url is None else origin(queen_url) + QUEEN_PATH
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(
            headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        )

    async def close(self) -> None:
        """Ends all connections."""
        await self._client.aclose()

    async def register(self, report: Report) -> bool:
        """Tells the hive that the worker is ready, as often as it takes within the patience.

        Returns:
            Whether the hive has taken it.
        """
        if self._ready_url is None:
            return False
        for attempt, delay in enumerate(READY_DELAYS, 1):
            await asyncio.sleep(delay)
            status = await self._post(self._ready_url, asdict(report))
            if status is not None and 200 <= status < 300:
                _log.info("registered with the hive")
                return True
            _log.warning("ready call %d of %d failed: %s", attempt, len(READY_DELAYS), _say(status))
            if status is not None and 400 <= status < 500 and status not in _RETRIED_CLIENT_ERRORS:
                break
        _log.error("the hive has not taken the ready call")
        return False

    async def beat_hive(self, report: Report) -> None:
        """Sends heartbeats until cancelled; a hive that has forgotten the worker is told anew."""
        if self._heartbeat_url is None:
            return
        while True:
            body = {"worker_id": report.worker_id, "timestamp": _now(), "health_status": "healthy"}
            status = await self._post(self._heartbeat_url, body)
            if status == 404:
                _log.warning("the hive does not know this worker any more")
                await self.register(report)
            elif status is None or status >= 300:
                _log.warning("heartbeat failed: %s", _say(status))
            await asyncio.sleep(self._heartbeat_seconds)

    async def beat_queen(self, report: Callable[[], Report], status: Callable[[], str], ready: asyncio.Event) -> None:
        """Sends heartbeats to the queen until cancelled, and one as soon as the worker is ready."""
        while self._queen_url is not None:
            early = not ready.is_set()
            await self.tell_queen(report(), status())
            if early:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ready.wait(), self._heartbeat_seconds)
            else:
                await asyncio.sleep(self._heartbeat_seconds)

    async def tell_queen(self, report: Report, status: str) -> None:
        """Sends one heartbeat to the queen."""
        if self._queen_url is None:
            return
        worker = {
            "id": report.worker_id,
            "model_id": report.model_ref,
            "device": f"{report.backend}:{report.device}",
            "port": urlsplit(report.url).port,
            "status": status,
            "implementation": report.worker_type,
            "version": report.version,
        }
        answer = await self._post(self._queen_url, {"worker": worker, "timestamp": _now()})
        if answer is None or answer >= 300:
            _log.debug("the queen's heartbeat failed: %s", _say(answer))

    async def _post(self, url: str, body: dict[str, Any]) -> int | None:
        """The status; None where there was no answer."""
        try:
            # The client's own timeouts are for each read; an answer that drips in is to end too.
            async with asyncio.timeout(TIMEOUT_SECONDS), self._client.stream("POST", url, json=body) as response:
                return response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return None


def ready_url(callback_url: str) -> str:
    """The address itself where it has a path, else with the hive's usual one."""
    return callback_url if urlsplit(callback_url).path not in ("", "/") else origin(callback_url) + READY_PATH


def origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(status: int | None) -> str:
    return "no answer" if status is None else f"status {status}"
