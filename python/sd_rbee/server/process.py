"""The process: bind first, load behind, report, and end in good order."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator

import uvicorn

from sd_rbee.engine import Engine, EngineState
from sd_rbee.errors import HiveError
from sd_rbee.hive import HiveClient, Report
from sd_rbee.pipeline import Pipeline
from sd_rbee.server.app import create_app
from sd_rbee.server.connections import patient_for
from sd_rbee.server.metrics import Metrics
from sd_rbee.server.worker import Worker
from sd_rbee.settings import WorkerSettings

_log = logging.getLogger("sd_rbee.server")
# Together less than the two seconds after which a hive kills.
_SECONDS_FOR_JOBS = 1.0
_SECONDS_FOR_STREAMS = 0.5
_SECONDS_FOR_FAREWELL = 0.7
_SECONDS_FOR_ALL = 1.7
_BACKLOG = 512


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the process's own: uvicorn would raise them anew at its end."""
        yield


class Process:
    """One worker from its first breath to its last.

    Args:
        settings: What it was told.
        listener: The socket that it listens on, bound.
        on_begun: Called once signals end it in good order.
    """

    def __init__(self, settings: WorkerSettings, listener: socket.socket, on_begun: Callable[[], object]) -> None:
        self._settings = settings
        self._listener = listener
        # Asked now, as the server closes its sockets before the last words are said.
        self._url = address(listener)
        self._on_begun = on_begun
        self._stopping = asyncio.Event()
        self._loaded = asyncio.Event()
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        metrics = Metrics()
        self._engine = Engine(
            self._load,
            queue_size=settings.limits.queue_size,
            keep_seconds=settings.keep_seconds,
            keep_jobs=settings.keep_jobs,
            keep_bytes=settings.keep_bytes,
            on_loaded=self._on_engine_thread,
            on_ended=metrics.ended,
        )
        self._worker = Worker(settings, self._engine, metrics, stop=self.stop)

    def stop(self) -> None:
        """Begins the end."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until it is told to stop.

        Raises:
            SdRbeeError: The model could not be loaded, or the hive refused what it had to take.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            self._hear(number)
        self._on_begun()
        config = uvicorn.Config(
            create_app(self._worker),
            http=patient_for(self._settings.patience_seconds),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([self._listener]))
        self._engine.start()
        reporting = asyncio.create_task(self._report())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping", extra={"event": "stopping"})
        reporting.cancel()
        if self._error is None:
            # Threads that read a client's pictures would be waited for at the very end.
            last = threading.Timer(_SECONDS_FOR_ALL, os._exit, (0,))
            last.daemon = True
            last.start()
        ended = await asyncio.to_thread(self._engine.close, _SECONDS_FOR_JOBS)
        # From here answers under way, streams with their last events among them, are finished and none begun.
        server.should_exit = True
        await asyncio.wait((serving,), timeout=_SECONDS_FOR_STREAMS)
        await asyncio.wait((reporting,), timeout=_SECONDS_FOR_FAREWELL)
        if self._error is not None:
            raise self._error
        if not ended or not serving.done():
            # Native code that does not come back must not hold the process.
            _log.warning("some work did not end in time")
            logging.shutdown()
            os._exit(0)

    def _load(self) -> Pipeline:
        settings = self._settings
        return Pipeline.load(
            settings.model,
            settings.device,
            settings.dtype,
            num_threads=settings.num_threads,
            vae=settings.vae,
            preview_vae=settings.preview_vae,
            prediction_type=settings.prediction_type,
            variant=settings.variant,
            download=False,
        )

    def _hear(self, number: signal.Signals) -> None:
        try:
            self._loop.add_signal_handler(number, self.stop)
        except NotImplementedError:
            # Windows, where a handler runs between two steps of the interpreter and must wake the loop.
            signal.signal(number, lambda *_: self._loop.call_soon_threadsafe(self.stop))

    def _on_engine_thread(self, error: BaseException | None) -> None:
        # The loop may be closed by the time that a slow model is there.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_loaded, error)

    def _on_loaded(self, error: BaseException | None) -> None:
        if error is None:
            _log.info("ready", extra={"event": "ready"})
            self._loaded.set()
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.stop()

    async def _report(self) -> None:
        hive, settings = self._settings.hive, self._settings
        if hive.callback_url is None and hive.queen_url is None:
            return
        client = HiveClient(
            callback_url=hive.callback_url,
            queen_url=hive.queen_url,
            token=settings.token,
            heartbeat_seconds=hive.heartbeat_seconds,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(client.beat_queen(self._describe, self._status, self._loaded))
                await self._loaded.wait()
                if hive.callback_url is not None:
                    report = self._describe()
                    if await client.register(report):
                        tasks.create_task(client.beat_hive(report))
                    elif hive.required:
                        self._fail(HiveError("the hive has not taken the ready call"))
        finally:
            # It comes here by being cancelled, at the end of the process.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_FOR_FAREWELL):
                    await client.tell_queen(self._describe(), "stopping")
            await client.close()

    def _status(self) -> str:
        states = {EngineState.IDLE: "ready", EngineState.BUSY: "busy"}
        return states.get(self._engine.state, "starting")

    def _describe(self) -> Report:
        settings, worker = self._settings, self._worker
        backend, _, index = worker.device.partition(":")
        unified = backend != "cuda"
        return Report(
            worker_id=settings.worker_id,
            url=self._url,
            uri=self._url,
            model_ref=settings.model_ref,
            backend=backend,
            device=int(index or 0),
            vram_bytes=self._engine.vram_bytes,
            memory_bytes=self._engine.model_bytes,
            memory_architecture="unified" if unified else "vram-only",
            worker_type="sd-worker-rbee",
            capabilities=["image-gen"],
            protocol="sse",
            model_version=settings.model_version,
            version=worker.info()["version"],
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: The address or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once only on what says that it is TCP; else the system may keep a packet for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # Only a port in its last minutes after a close is taken over, never one that is listened on.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{host} port {port}: {error.strerror}") from None
    return listener


def serve(settings: WorkerSettings, listener: socket.socket, on_begun: Callable[[], object]) -> None:
    """Runs one worker until it is told to stop.

    Args:
        settings: What it was told.
        listener: The socket that it listens on, bound.
        on_begun: Called once signals end it in good order.

    Raises:
        SdRbeeError: As `Process.run`.
    """

    async def run() -> None:
        await Process(settings, listener, on_begun).run()

    asyncio.run(run())


def address(listener: socket.socket) -> str:
    """Where the socket can be reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
