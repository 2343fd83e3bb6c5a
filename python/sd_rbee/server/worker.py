"""What the routes share: the settings, the engine, the orders, the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sd_rbee
from sd_rbee import models
from sd_rbee.engine import Engine, EngineState
from sd_rbee.server.answers import Defaults, Info
from sd_rbee.server.metrics import Metrics
from sd_rbee.server.orders import Orders
from sd_rbee.server.schema import Bounds
from sd_rbee.settings import WorkerSettings

# Of a request that names none, for models that do not say better themselves: the seed's, and the hives' for jobs.
_SEED_STEPS = 30
_JOB_STEPS = 20
# What hives call the engine's tasks.
_OPERATIONS = {
    "text-to-image": "image_generation",
    "image-to-image": "image_transform",
    "inpaint": "image_inpaint",
}


@dataclass
class Worker:
    """One worker process.

    Attributes:
        settings: What it was told at its start.
        engine: The model's thread and its queue.
        metrics: What was counted.
        stop: Ends the process in good order.
        begun: Monotonic time of its start.
    """

    settings: WorkerSettings
    engine: Engine
    metrics: Metrics
    stop: Callable[[], object]
    begun: float = field(default_factory=time.monotonic)
    _orders: Orders | None = None

    @property
    def orders(self) -> Orders:
        """Turns requests into orders, with the model's defaults once it is loaded."""
        pipeline = self.engine.pipeline
        if self._orders is not None:
            return self._orders
        if pipeline is None:
            # The engine refuses whatever is ordered now; the request's own faults are told first all the same.
            return Orders(
                self.settings, steps=1, job_steps=1, guidance_scale=1.0, sides=(1, 1), tasks=tuple(_OPERATIONS)
            )
        defaults, own = pipeline.defaults, models.has_own_defaults(self.settings.model)
        steps, most = defaults["num_inference_steps"], self.settings.limits.max_steps
        self._orders = Orders(
            self.settings,
            # A request that names no steps must not be refused for having too many.
            steps=min(steps if own else _SEED_STEPS, most),
            job_steps=min(steps if own else _JOB_STEPS, most),
            guidance_scale=defaults["guidance_scale"],
            sides=(defaults["height"], defaults["width"]),
            tasks=pipeline.tasks,
        )
        return self._orders

    @property
    def uptime_seconds(self) -> int:
        """Whole seconds since the start."""
        return int(time.monotonic() - self.begun)

    @property
    def device(self) -> str:
        """Where the model computes, as hives spell it; what was asked for until it is loaded."""
        pipeline = self.engine.pipeline
        device = self.settings.device if pipeline is None else pipeline.device
        return device if ":" in device or device == "auto" else f"{device}:0"

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        return self.engine.state in (EngineState.IDLE, EngineState.BUSY)

    @property
    def bounds(self) -> Bounds:
        """What requests may ask for, as the schema tells it."""
        pipeline, limits = self.engine.pipeline, self.settings.limits
        if pipeline is None:
            return Bounds(limits, 1, ())
        return Bounds(limits, pipeline.size_multiple, pipeline.schedulers)

    def info(self) -> Info:
        """All that a client may want to know before it asks for a picture."""
        pipeline, settings, limits = self.engine.pipeline, self.settings, self.settings.limits
        info: Info = {
            "worker_id": settings.worker_id,
            "worker_type": "sd-worker-rbee",
            "version": sd_rbee.__version__,
            "model_ref": settings.model_ref,
            "model_version": settings.model_version,
            "device": self.device,
            "status": self.engine.state,
            "capabilities": ["image-gen"],
            "operations": [_OPERATIONS[task] for task in ([] if pipeline is None else pipeline.tasks)],
            "protocol": "sse",
            "slots_total": 1,
            "queue": {"waiting": self.engine.waiting, "size": limits.queue_size},
            "limits": {
                "max_pixels": limits.max_pixels,
                "max_steps": limits.max_steps,
                "max_batch": limits.max_batch,
                "max_body_bytes": limits.max_body_bytes,
                "keep_seconds": settings.keep_seconds,
            },
        }
        if pipeline is not None:
            defaults = pipeline.defaults
            info["defaults"] = Defaults(
                steps=self.orders.steps,
                guidance_scale=self.orders.guidance_scale,
                height=defaults["height"],
                width=defaults["width"],
                scheduler=defaults["scheduler"],
            )
            info["size_multiple"] = pipeline.size_multiple
            info["dtype"] = pipeline.dtype
            info["schedulers"] = pipeline.schedulers
        return info
