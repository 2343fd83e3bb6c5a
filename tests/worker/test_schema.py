"""The OpenAPI schema is true: what it allows is taken, what it forbids is refused, and every answer is in it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from clients import encoded, submit, wait_for_status
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from serving import SMALL, WorkerProcess, serving

TOKEN = "t0ken"
SECURED = {"authorization": f"Bearer {TOKEN}"}
# What JSON Schema cannot say: that a string is a picture, that a job is there, how fields depend on each other,
# and that 2.0 is no whole number.
FITTING = {
    **{"width": 64, "height": 64, "eta": 0.0, "timestep_spacing": None, "rescale_betas_zero_snr": None},
    **dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")),
}

WHOLE = ("steps", "seed", "num_samples", "preview_every", "deepcache_interval", "padding_mask_crop", "clip_skip")


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    flags = ("--max-steps", 2, "--max-batch", 1, "--queue-size", 1000, "--keep-jobs", 10_000)
    with serving(*flags, env={"SD_RBEE_API_TOKEN": TOKEN}) as started:
        started.client.headers.update(SECURED)
        yield started


@pytest.fixture(scope="module")
def job_id(worker: WorkerProcess) -> str:
    made = submit(worker, SMALL)
    wait_for_status(worker, made, "completed")
    return made


@pytest.fixture(scope="module")
def schema(worker: WorkerProcess) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{worker.url}/schema/openapi.json", headers=SECURED)


def make_possible(body: dict[str, Any], job_id: str) -> None:
    """Fills in what JSON Schema cannot ask for."""
    body.update({name: value for name, value in FITTING.items() if name in body})
    for field in ("image", "mask", "input_image", "init_image", "mask_image"):
        if isinstance(body.get(field), str):
            body[field] = encoded()
    if "guidance_end" in body:
        # Above every start.
        body["guidance_end"] = 1.0
    if body.get("clip_skip") is not None:
        # Its text encoder has only so many layers.
        body["clip_skip"] = 1
    if "deepcache_branch" in body:
        # The model has only so many.
        body["deepcache_branch"] = 0
    if {"image", "input_image", "init_image"} & body.keys():
        # Leaves a step to take, however few there are.
        body["strength"] = 1.0
    if body.get("outpaint") is not None:
        # Multiples of what the model draws, one of them above 0.
        body["outpaint"] = [8, 0, 0, 16]
    for field, value in body.items():
        if field in WHOLE and isinstance(value, float):
            body[field] = int(value)
        elif isinstance(value, list):
            body[field] = [int(item) if isinstance(item, float) else item for item in value]
    if body.get("scheduler") == "pndm":
        # Its Runge-Kutta steps take more intervals than a request may have here.
        body["scheduler"] = "ddim"
    if "job_id" in body:
        body["job_id"] = job_id


WITHOUT_INPUT = [("GET", path) for path in ("/health", "/v1/health", "/ready", "/v1/ready", "/info", "/metrics")]
OPERATIONS = [
    *(("POST", path) for path in ("/execute", "/img2img", "/inpaint", "/v1/jobs", "/cancel")),
    *(("GET", "/v1/jobs/{job_id}"), ("GET", "/v1/jobs/{job_id}/stream"), ("DELETE", "/v1/jobs/{job_id}")),
]


def test_every_operation_is_tried_but_those_that_end_the_worker(schema: BaseSchema) -> None:
    told = {(method.upper(), path) for path in schema for method in schema[path]}
    assert {(method, path) for method, path in told if "shutdown" not in path} == {*OPERATIONS, *WITHOUT_INPUT}


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((*operation, GenerationMode.POSITIVE) for operation in (*OPERATIONS, *WITHOUT_INPUT)),
        *((*operation, GenerationMode.NEGATIVE) for operation in OPERATIONS),
    ],
)
def test_every_route_is_as_its_schema_says(
    schema: BaseSchema, job_id: str, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method]

    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            if isinstance(case.body, dict):
                make_possible(case.body, job_id)
            if "job_id" in case.path_parameters:
                case.path_parameters["job_id"] = job_id
            # One that has passed already is refused, whatever else is asked.
            case.headers.pop("X-Deadline", None)
        response = case.call(headers=SECURED, timeout=30)
        assert response.status_code != 500
        case.validate_response(response, headers=SECURED)

    try_it()


def test_the_worker_draws_after_all_of_that(worker: WorkerProcess) -> None:
    response = worker.client.post("/execute", json=SMALL, headers={"accept": "image/png"})
    assert (response.status_code, response.content[:4]) == (200, b"\x89PNG")
