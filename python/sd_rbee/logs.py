"""Logs of the command line and the worker: people's text, or a JSON object a line."""

import json
import logging
import sys
import time
from pathlib import Path

_FAILED = "failed"


class _JsonFormatter(logging.Formatter):
    def __init__(self, worker_id: str) -> None:
        super().__init__()
        self._worker_id = worker_id

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "target": record.name,
            "worker_id": self._worker_id,
            **{name: getattr(record, name) for name in ("job_id", "event") if hasattr(record, name)},
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(*, level: str, format: str, file: Path | None, worker_id: str) -> None:
    """Sends the logs to stderr, and to a file besides.

    Args:
        level: A level's name, as `logging` knows it.
        format: `text` or `json`.
        file: Appended to.
        worker_id: Named in every JSON line.

    Raises:
        OSError: The file cannot be written.
    """
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter = _JsonFormatter(worker_id) if format == "json" else text
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.addFilter(lambda record: getattr(record, "event", None) != _FAILED)
    handlers: list[logging.Handler] = [to_stderr]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = handlers
    # At lower levels other packages log what requests and calls hold, tokens among it.
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(logging.WARNING, wanted))
    logging.getLogger("sd_rbee").setLevel(wanted)


def tell_file(text: str) -> None:
    """Logs the failure that ends the process to the file alone: on stderr the command line says it in its own words."""
    logging.getLogger("sd_rbee").error(text, extra={"event": _FAILED})
