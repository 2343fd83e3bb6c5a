"""The bar that a terminal shows of a download."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_repositories import UNET, with_model
from mock_hub import Hub

if sys.platform != "win32":
    import pty


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_a_terminal_shows_a_bar(hub: Hub, tmp_path: Path) -> None:
    env = {**os.environ, **with_model(hub).env(tmp_path), "TERM": "xterm-256color", "COLUMNS": "160"}
    hub.faults.cut[UNET] = [7_000_000]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sd_rbee", "pull", "bees/pollen"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                # The terminal was closed at the other end.
                break
            if not chunk:
                break
            seen += chunk
    os.close(ours)
    shown = seen.decode()
    assert child.returncode == 0, shown
    assert "download" in shown
    assert UNET in shown
    assert "/22.7 MB" in shown
    assert "MB/s" in shown
    last = shown.rstrip().splitlines()[-1]
    assert "bees/pollen at " in last
    assert last.endswith("22.7 MB in 13 files")
