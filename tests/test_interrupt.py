"""Ctrl-C and the end of the interpreter, in processes of their own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import run

LOAD = """
import sys, threading, time
import sd_rbee
pipe = sd_rbee.Pipeline.load()
endless = dict(num_inference_steps=1000, num_images_per_prompt=16)
first = []
def ready(step):
    if not first:
        first.append(step)
        print("ready", flush=True)
"""
WAYS = {
    "plain": """
threading.Timer(0.2, print, ("ready",), {"flush": True}).start()
pipe.generate("a robot", **endless)
""",
    "observed": """
pipe.generate("a robot", on_step=ready, **endless)
""",
    "streamed": """
for event in pipe.stream("a robot", **endless):
    ready(event)
""",
    "waiting": """
threading.Thread(target=lambda: pipe.generate("a robot", on_step=ready, **endless), daemon=True).start()
while not first:
    time.sleep(0.01)
pipe.generate("an owl", **endless)
""",
    "async": """
import asyncio
async def main():
    async for event in pipe.astream("a robot", **endless):
        ready(event)
asyncio.run(main())
""",
}


def interrupt(command: list[str], cwd: Path, awaited: str, *, on_stderr: bool = False) -> tuple[int, str, str, float]:
    """Starts a command, sends it SIGINT once it has printed `awaited`; its exit code, output and how long it took."""
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        stream = child.stderr if on_stderr else child.stdout
        assert stream is not None
        said = stream.readline()
        while said and awaited not in said:
            said = stream.readline()
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        output, errors = child.communicate(timeout=30)
        return child.returncode, output, errors, time.monotonic() - begun


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_a_generation(way: str, tmp_path: Path) -> None:
    code, _, errors, seconds = interrupt([sys.executable, "-c", LOAD + WAYS[way]], tmp_path, "ready")
    assert code == -signal.SIGINT
    assert "\nKeyboardInterrupt\n" in errors
    assert seconds < 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_a_pipeline_draws_on_after_ctrl_c(tmp_path: Path) -> None:
    script = f"{LOAD}\ntry:{WAYS['observed'].replace(chr(10), chr(10) + '    ')}\nexcept KeyboardInterrupt:\n"
    script += "    print(pipe.generate('a robot', num_inference_steps=1, seed=3).seeds)\n"
    code, output, errors, _ = interrupt([sys.executable, "-c", script], tmp_path, "ready")
    assert (code, output, errors) == (0, "[3]\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
@pytest.mark.parametrize("quiet", [False, True])
def test_ctrl_c_ends_the_command(quiet: bool, tmp_path: Path) -> None:
    # Quiet is about progress alone: the log of --debug says when the model is there.
    options = ["--steps", "1000", "-n", "16", "-o", "a.png", "--debug" if quiet else "--seed=1", *["-q"] * quiet]
    command = [sys.executable, "-m", "sd_rbee", "generate", "a robot", *options]
    code, output, errors, seconds = interrupt(command, tmp_path, "vae:" if quiet else "encode 1/1", on_stderr=True)
    assert (code, output) == (130, "")
    assert seconds < 2
    assert list(tmp_path.iterdir()) == []
    if quiet:
        assert "KeyboardInterrupt" in errors
    else:
        assert errors.splitlines()[-1] == "sd-rbee: cancelled"
        assert "Traceback" not in errors


@pytest.mark.parametrize("observer", ["None", "lambda step: None"])
def test_the_interpreter_may_end_during_a_generation(observer: str) -> None:
    script = f"""
threading.Thread(target=lambda: pipe.generate("a robot", on_step={observer}, **endless), daemon=True).start()
stream = pipe.stream("an owl", **endless)
next(stream)
time.sleep(0.2)
"""
    done = run("-c", LOAD + script)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr


def test_a_thread_that_is_stopped_may_say_so() -> None:
    script = """
def told(failed):
    time.sleep(0.1)
    print("stopped by", failed.exc_type.__name__, file=sys.stderr)
threading.excepthook = told
threading.Thread(target=lambda: pipe.generate("a robot", on_step=ready, **endless), daemon=True).start()
while not first:
    time.sleep(0.01)
"""
    done = run("-c", LOAD + script)
    assert (done.returncode, done.stderr) == (0, "stopped by Cancelled\n")
