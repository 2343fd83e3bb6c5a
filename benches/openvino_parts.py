"""Parts as OpenVINO computes them, with this package's noise and schedule around its networks."""

import importlib
import json
from pathlib import Path
from typing import Any

from benches.engines import SEED, Dtype
from benches.openvino_conversion import CONDITIONS, TOKENS, converted
from benches.parts import GUIDED, LATENTS_SEED, TIMESTEP, Conditions, Part, Parts, Task
from sd_rbee.backend import native

numpy: Any = importlib.import_module("numpy")
openvino: Any = importlib.import_module("openvino")


class Model:
    """The networks, each compiled when it is first asked for."""

    def __init__(self, task: Task, dtype: Dtype) -> None:
        self._folder = converted(task.folder, task.cache)
        self._core = openvino.Core()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": dtype,
            "INFERENCE_NUM_THREADS": task.threads,
            # As many threads as asked for, also where two are of one core.
            "ENABLE_HYPER_THREADING": True,
        }
        self._compiled: dict[str, Any] = {}
        self._task = task

    def run(self, name: str, *inputs: Any) -> Any:  # noqa: ANN401
        """The first output of a network, an array."""
        if name not in self._compiled:
            compiled = self._core.compile_model(self._folder / f"{name}.xml", "CPU", self._options)
            self._compiled[name] = compiled.create_infer_request()
        return self._compiled[name].infer(dict(enumerate(inputs)))[0]

    def unet(self, sample: Any, timestep: float, conditions: Conditions) -> Any:  # noqa: ANN401
        given = (each for each in conditions if each is not None)
        return self.run("unet", sample, numpy.float32(timestep), *given)

    @property
    def is_xl(self) -> bool:
        return (self._folder / CONDITIONS).is_file()

    def conditions(self) -> Conditions:
        """Of no prompt and of the prompt."""
        if self.is_xl:
            return Conditions(**numpy.load(self._folder / CONDITIONS))
        ids = json.loads((self._folder / TOKENS).read_text(encoding="utf-8"))
        return Conditions(self.run("text_encoder", numpy.array(ids, dtype=numpy.int64)).copy())

    def latents(self, seed: int) -> Any:  # noqa: ANN401
        config = _json(self._task.folder / "unet/config.json")
        side = config["sample_size"]
        return numpy.asarray(native.Generator(seed).randn((1, config["in_channels"], side, side)))

    def draw(self) -> Any:  # noqa: ANN401
        """Pixels, uint8 (height, width, 3).

        Raises:
            ValueError: The model is SDXL, whose text encoders are not converted.
        """
        if self.is_xl:
            raise ValueError("pictures of SDXL are not drawn: its text encoders are not converted")
        folder, conditions, latents = self._task.folder, self.conditions(), self.latents(SEED)
        # As diffusers' StableDiffusionPipeline mends it.
        config = {**_json(folder / "scheduler/scheduler_config.json"), "steps_offset": 1, "clip_sample": False}
        scheduler, generator = native.Scheduler("ddim", config, self._task.steps), native.Generator(SEED)
        for index, timestep in enumerate(scheduler.timesteps):
            without, with_prompt = self.unet(numpy.concatenate([latents] * GUIDED), timestep, conditions)
            guided = without + self._task.guidance * (with_prompt - without)
            guided = numpy.ascontiguousarray(guided[None], dtype=numpy.float32)
            latents = numpy.asarray(scheduler.step(guided, index, latents, generator))
        scaling_factor = _json(folder / "vae/config.json").get("scaling_factor", 0.18215)
        pixels = self.run("vae_decoder", latents / numpy.float32(scaling_factor))[0].transpose(1, 2, 0)
        return numpy.rint(numpy.clip(pixels / 2 + 0.5, 0, 1) * 255).astype(numpy.uint8)


def load(task: Task, dtype: Dtype) -> Parts:
    model = Model(task, dtype)
    latents, conditions = model.latents(LATENTS_SEED), model.conditions()
    sample = numpy.concatenate([latents] * GUIDED)
    return {
        "unet": Part(lambda: model.unet(sample, TIMESTEP, conditions), _bytes),
        "vae": Part(lambda: model.run("vae_decoder", latents), _bytes),
        "picture": Part(model.draw, _bytes),
    }


def _json(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))


def _bytes(array: Any) -> bytes:  # noqa: ANN401
    return bytes(numpy.ascontiguousarray(array).tobytes())
