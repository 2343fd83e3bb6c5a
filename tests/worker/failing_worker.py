"""A worker whose native code fails where a prompt asks for it, as it does on machines that a test cannot have."""

from typing import Any

from sd_rbee import InferenceError, Pipeline
from sd_rbee.cli.worker import any_device
from sd_rbee.errors import DeviceError, OutOfMemoryError
from sd_rbee.result import GenerationResult


class PanicException(BaseException):
    """What pyo3 raises for a panic that nothing has caught; no `Exception`, so that it is easily missed."""


SECRETS = "CUDA_ERROR at 0x7f3a12 in /home/somebody/models/unet.safetensors"
FAILURES: dict[str, BaseException] = {
    "out of memory": OutOfMemoryError(SECRETS),
    "no memory": MemoryError(SECRETS),
    "panic": PanicException(SECRETS),
    "lost device": DeviceError(SECRETS),
    "not finite": InferenceError(SECRETS),
    "bug": ZeroDivisionError(SECRETS),
}


def install() -> None:
    run = Pipeline.run

    def fail_if_asked(self: Pipeline, spec: Any, **arguments: Any) -> GenerationResult:  # noqa: ANN401 - as the other
        if spec.prompt in FAILURES:
            raise FAILURES[spec.prompt]
        return run(self, spec, **arguments)

    Pipeline.run = fail_if_asked  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    any_device()
