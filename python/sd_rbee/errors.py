"""Everything that sd-rbee raises or warns of.

SdRbeeError
├── ModelNotFoundError      no model where one was said to be
│   └── DownloadError       a model of the hub that did not come: no access, no network, no room for it
├── CheckpointError         a model that is there but cannot be used
├── InvalidParamsError      a parameter out of its range (also a ValueError)
├── DeviceError             a device that is absent or unable to do what was asked
│   └── OutOfMemoryError    the device's or the machine's memory is exhausted
├── InferenceError          the computation itself failed
├── HiveError               a hive did not take what it had to take
└── Cancelled               the caller asked to stop

UserWarning
├── ChangedImageWarning          an image was resized or made opaque before it was drawn over
├── TruncatedPromptWarning       a prompt was longer than the text encoder's window
└── IneffectiveParameterWarning  a parameter was given and had no effect
"""


class SdRbeeError(Exception):
    """The base of every error of this package."""


class ModelNotFoundError(SdRbeeError):
    """No model where one was said to be."""


class DownloadError(ModelNotFoundError):
    """A model of the hub that is not at hand and did not come: no access, no network, no room for it."""


class CheckpointError(SdRbeeError):
    """A model that is there but cannot be used: broken files, wrong tensors, absurd or unsupported configuration."""


class InvalidParamsError(SdRbeeError, ValueError):
    """A parameter of the wrong type or out of its range.

    Attributes:
        field: Name of the parameter.
        given: What was given, shortened.
        allowed: What would have been accepted.
    """

    def __init__(self, field: str, given: str, allowed: str) -> None:
        super().__init__(field, given, allowed)
        self.field = field
        self.given = given
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.field}: got {self.given}, allowed is {self.allowed}"


class DeviceError(SdRbeeError):
    """A device or a backend that is absent, not compiled in, or unable to do what was asked."""


class OutOfMemoryError(DeviceError):
    """The device's or the machine's memory is exhausted."""


class InferenceError(SdRbeeError):
    """The computation itself failed."""


class HiveError(SdRbeeError):
    """A hive did not take a call that the worker was told to depend on."""


class Cancelled(SdRbeeError):  # noqa: N818 - asked for by the caller, so not an error of anybody's
    """The caller asked to stop."""


class ChangedImageWarning(UserWarning):
    """An image was resized, made opaque or taken apart before it was drawn over."""


class TruncatedPromptWarning(UserWarning):
    """A prompt was longer than the text encoder's window; the model did not see its end."""


class IneffectiveParameterWarning(UserWarning):
    """A parameter was given and had no effect, such as a negative prompt without guidance."""
