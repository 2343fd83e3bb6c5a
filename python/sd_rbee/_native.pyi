"""The native engine. Everything here releases the GIL while it computes and raises the classes of `sd_rbee.errors`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

from typing_extensions import Buffer

__all__ = [
    "CancelToken",
    "Conditioning",
    "Difference",
    "Generation",
    "Generator",
    "Image",
    "Pipeline",
    "Residency",
    "Scheduler",
    "Step",
    "Tensor",
    "Tokenizer",
    "Truncation",
    "__version__",
    "compare",
    "cpu_features",
    "devices",
    "features",
    "instruction_set",
    "instruction_sets",
    "num_threads",
    "peak_flops",
]
__version__: str

@final
class CancelToken:
    """A flag that stops a generation; may be set from any thread."""

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None:
        """Asks the generation to stop; it raises `Cancelled` within one step."""
    @property
    def cancelled(self) -> bool: ...

@final
class Conditioning:
    """Text embeddings (batch, tokens, width), and of SDXL the pooled text (batch, width) and `time_ids` (batch, 6).

    Networks keep what they make of them from call to call.
    """

    def __new__(
        cls, embeddings: Buffer, pooled: Buffer | None = None, time_ids: Buffer | None = None
    ) -> Conditioning: ...

@final
class Step:
    """One finished unit of work."""

    @property
    def phase(self) -> Literal["encode", "prepare", "denoise", "decode"]: ...
    @property
    def image(self) -> int:
        """Index of the image, from 0."""
    @property
    def step(self) -> int:
        """Units of this phase done, over all images, from 1."""
    @property
    def total(self) -> int:
        """Units of this phase in all, over all images."""
    @property
    def elapsed(self) -> float:
        """Seconds since the generation began."""
    @property
    def eta(self) -> float | None:
        """Estimated seconds to the end of the generation; None until a step was measured."""
    @property
    def preview(self) -> Image | None:
        """What the image looks like so far, where previews were asked for and this step has one."""

@final
class Image(Buffer):
    """RGB pixels, uint8, shape (height, width, 3); a read-only buffer, so `numpy.asarray(image)` copies nothing."""

    def __new__(cls, pixels: Buffer) -> Image:
        """Copies a C-contiguous uint8 buffer of shape (height, width, 3)."""
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Tensor(Buffer):
    """Contiguous float32 values in host memory; a read-only buffer, so `numpy.asarray(tensor)` copies nothing."""

    def __new__(cls, values: Buffer) -> Tensor:
        """Copies a C-contiguous float32 buffer of one to five dimensions."""
    @property
    def shape(self) -> tuple[int, ...]: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Difference:
    """How far one tensor is from another."""

    @property
    def relative_rms(self) -> float:
        """RMS of the difference over RMS of the reference."""
    @property
    def max_abs(self) -> float: ...

@final
class Truncation:
    """A prompt that was longer than the text encoder's window."""

    @property
    def prompt(self) -> Literal["prompt", "negative_prompt"]: ...
    @property
    def kept(self) -> int:
        """Tokens kept, begin and end tokens not counted."""
    @property
    def total(self) -> int:
        """Tokens that the whole prompt has."""
    @property
    def dropped_text(self) -> str:
        """The text that the model did not see."""

@final
class Residency:
    """Where the bytes of one component are."""

    @property
    def component(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str:
        """The dtype that it computes in."""
    @property
    def stored_dtype(self) -> str:
        """The dtype in the file."""
    @property
    def tensors(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def storage(self) -> Literal["mmapped", "copied", "packed"]:
        """Whether the memory is the file's own, or was read, or read and laid out anew for the CPU's kernels."""

@final
class Generation:
    """What one call of `Pipeline.generate` made."""

    @property
    def images(self) -> list[Image]: ...
    @property
    def seeds(self) -> list[int]:
        """Seed of each image; image i is the first seed + i."""
    @property
    def timings(self) -> dict[str, float]:
        """Seconds by phase: encode, prepare, denoise, decode, total."""
    @property
    def peak_memory(self) -> dict[str, int]:
        """The most bytes in use at one time by phase: encode, prepare, denoise, decode.

        The model's own are included, blocks under 256 KiB are not.
        """
    @property
    def truncations(self) -> list[Truncation]: ...
    @property
    def warnings(self) -> list[str]:
        """What was given and had no effect, such as a negative prompt without guidance."""
    @property
    def residency_events(self) -> list[str]:
        """What moved or grew in memory since the model was loaded; empty when nothing did."""
    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as they were used, every default filled in.

        Keys: task (one of `Pipeline.tasks`), strength (None for text-to-image), width, height,
        num_inference_steps, guidance_scale, guidance_rescale, guidance_start, guidance_end,
        deepcache_interval, deepcache_branch, clip_skip, prompt_syntax, vae_tiling, scheduler, eta,
        timestep_spacing (None with lcm and tcd),
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, rescale_betas_zero_snr.
        """

@final
class Pipeline:
    """A model in memory. One generation at a time; a second call waits for the first."""

    @staticmethod
    def load(
        path: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        engine: str = "native",
        num_threads: int | None = None,
        vae: str | None = None,
        preview_vae: str | None = None,
        prediction_type: str | None = None,
        variant: str | None = None,
    ) -> Pipeline:
        """`path` is a folder in diffusers layout or a single file.

        `vae` is an autoencoder to take instead of the model's own, `preview_vae` one for previews; each is a folder or
        a file.
        """
    @staticmethod
    def random(shape: str, *, device: str = "auto", dtype: str = "auto", num_threads: int | None = None) -> Pipeline:
        """A model of a published shape with random weights, for measuring; nothing is read or written."""
    @staticmethod
    def shapes() -> list[str]:
        """Names that `random` takes."""
    def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        image: Buffer | None = None,
        mask_image: Buffer | None = None,
        strength: float | None = None,
        prompt_2: str | None = None,
        negative_prompt_2: str | None = None,
        original_size: tuple[int, int] | None = None,
        crops_coords_top_left: tuple[int, int] | None = None,
        target_size: tuple[int, int] | None = None,
        negative_original_size: tuple[int, int] | None = None,
        negative_crops_coords_top_left: tuple[int, int] | None = None,
        negative_target_size: tuple[int, int] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        num_images_per_prompt: int = 1,
        seed: int | None = None,
        scheduler: str | None = None,
        eta: float = 0.0,
        timestep_spacing: str | None = None,
        use_karras_sigmas: bool | None = None,
        use_exponential_sigmas: bool | None = None,
        use_beta_sigmas: bool | None = None,
        rescale_betas_zero_snr: bool | None = None,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        deepcache_interval: int = 1,
        deepcache_branch: int = 0,
        clip_skip: int | None = None,
        prompt_syntax: str = "plain",
        vae_tiling: bool | None = None,
        preview_every: int = 0,
        decode_previews: bool = False,
        on_step: Callable[[Step], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Generation:
        """Draws pictures of a prompt; with an image, over it; with a mask too, over that part of it.

        `image` is a C-contiguous uint8 buffer (height, width, 3), its sides multiples of `size_multiple`; pictures are
        of its size. `mask_image`, (height, width) of that size, is drawn over where it is 128 or more. `strength` is
        how much is drawn anew, above 0 to 1; None is the model's own for the task.
        """
    def check(self, prompt: str, **parameters: object) -> None:
        """Raises what `generate` would raise of its parameters, and computes nothing."""
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def num_threads(self) -> int:
        """Threads that compute on the CPU."""
    @property
    def defaults(self) -> dict[str, Any]:
        """The model's own height, width, num_inference_steps, guidance_scale and scheduler."""
    @property
    def tasks(self) -> list[Literal["text-to-image", "image-to-image", "inpaint"]]:
        """What the model can do."""
    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
    @property
    def prediction_type(self) -> str: ...
    @property
    def residency(self) -> list[Residency]: ...
    @property
    def flops(self) -> dict[str, float]:
        """Floating-point operations at the model's own size, two a product, by the plain algorithms.

        Keys: predict, for a batch of one; vae_decode.
        """
    def tokenize(self, text: str) -> list[int]:
        """Token ids, begin, end and padding included; exactly the encoder's window long."""
    def encode_prompt(self, text: str, *, clip_skip: int | None = None, prompt_syntax: str = "plain") -> Tensor:
        """The hidden states that the UNet reads, of all text encoders side by side; shape (1, window, width).

        In the syntax a1111 as many windows as the text takes, one behind the other.
        """
    def pooled_prompt(self, text: str, *, prompt_syntax: str = "plain") -> Tensor | None:
        """The projected state of the end token, shape (1, width); None for models whose UNet takes none."""
    def predict(
        self,
        sample: Buffer,
        timestep: float,
        embeddings: Buffer | Conditioning,
        pooled: Buffer | None = None,
        time_ids: Buffer | None = None,
    ) -> Tensor:
        """The denoising network's raw output for `sample` (batch, channels, height, width).

        `pooled` (batch, width) and `time_ids` (batch, 6) are SDXL's: both or neither. A `Conditioning` stands for all
        three, and spares every call but the first the keys and values of the text.
        """
    def vae_decode(self, latents: Buffer, *, tiled: bool = False) -> Tensor:
        """Pixels (batch, 3, height, width), about -1 to 1, from unscaled latents."""
    def vae_encode(self, pixels: Buffer, *, seed: int | None = None, tiled: bool = False) -> Tensor:
        """Unscaled latents: the mode of the posterior, or a sample of it where a seed is given."""
    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]: ...
    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """What `predict` takes: the latents' shape, with an inpainting model's channels for the mask behind theirs."""

@final
class Scheduler:
    """A sampling schedule, by itself.

    A run may begin at any index that is a multiple of `order`, with a sample of `add_noise` for that index.
    """

    def __new__(
        cls,
        name: str,
        config: Mapping[str, object],
        num_inference_steps: int,
        *,
        eta: float = 0.0,
        timestep_spacing: str | None = None,
        use_karras_sigmas: bool | None = None,
        use_exponential_sigmas: bool | None = None,
        use_beta_sigmas: bool | None = None,
        rescale_betas_zero_snr: bool | None = None,
    ) -> Scheduler: ...
    @staticmethod
    def names() -> list[str]: ...
    @property
    def timesteps(self) -> list[float]:
        """One for each call of the network; heun and pndm take more of them than steps were asked for."""
    @property
    def sigmas(self) -> list[float]:
        """One more than timesteps; empty for ddim, ddpm, pndm, lcm and tcd."""
    @property
    def order(self) -> int:
        """How many steps belong together: 2 with heun, else 1."""
    @property
    def init_noise_sigma(self) -> float: ...
    def scale_model_input(self, sample: Buffer, index: int) -> Tensor: ...
    def add_noise(self, original: Buffer, noise: Buffer, index: int) -> Tensor:
        """The clean `original` (batch, channels, height, width) under the noise that there is before step `index`."""
    def step(self, model_output: Buffer, index: int, sample: Buffer, generator: Generator) -> Tensor: ...

@final
class Generator:
    """torch's CPU generator, bit for bit."""

    def __new__(cls, seed: int) -> Generator: ...
    def randn(self, shape: Sequence[int]) -> Tensor:
        """What `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` would draw next."""

@final
class Tokenizer:
    """CLIP's byte-level BPE, from a folder with tokenizer.json or vocab.json and merges.txt, or CLIP's own."""

    def __new__(cls, folder: str) -> Tokenizer: ...
    @staticmethod
    def clip() -> Tokenizer:
        """CLIP's own vocabulary, which models in a single file are loaded with."""
    def encode(self, text: str) -> list[int]:
        """All ids of the text between begin and end token, not truncated, not padded."""

def compare(values: Buffer, reference: Buffer) -> Difference:
    """Compares two float32 buffers of one shape."""

def features() -> list[str]:
    """The build's compiled-in features: cuda, cudnn, flash-attn, metal, accelerate."""

def instruction_set() -> str:
    """The instruction set that the CPU's kernels use: the best, or the one that SD_RBEE_CPU names."""

def instruction_sets() -> list[str]:
    """The instruction sets that SD_RBEE_CPU may name on this machine, the best last."""

def cpu_features() -> list[str]:
    """Instruction sets found on this machine."""

def num_threads(count: int | None = None) -> int:
    """Threads that compute on the CPU if `count` is asked for; None takes SD_RBEE_THREADS, else all that may be used.

    Raises:
        InvalidParamsError: A number outside of 1 to 1024.
        DeviceError: The system gives no threads.
    """

def peak_flops(dtype: str, seconds: float, *, num_threads: int | None = None) -> float:
    """Floating-point operations a second that this machine reaches at most, measured.

    Args:
        dtype: f32 or bf16: what is multiplied.
        seconds: How long to measure, 0 to 60; at least one round of some milliseconds.
        num_threads: To multiply on; None takes SD_RBEE_THREADS, else as many as the process may use.

    Raises:
        InvalidParamsError: An argument out of its range.
        DeviceError: The system gives no threads.
    """

def devices() -> list[str]:
    """Devices that can be opened now, such as cpu, cuda:0 and metal:0."""
