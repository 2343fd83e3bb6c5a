"""A hundred clients at once, of both dialects: all are answered, in the order of coming, with what they asked for."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from clients import job_events, submit
from httpx_sse import aconnect_sse
from serving import QUEUE_SIZE, SMALL, WorkerProcess, busy, failing, idle, impatient

CLIENTS = 100
TINY = {**SMALL, "steps": 1}
HIVES = {"operation": "image_generation", "hive_id": "hive-1", "model": "pollen"}
ENDS = {"complete", "error"}


@dataclass
class Outcome:
    """What became of a client.

    Attributes:
        refusals: The `Retry-After` of each 429.
        events: Names and data of the events that it got in the end.
        marker: The last line of a job's stream.
    """

    refusals: list[str] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    marker: str = ""


async def _seed_client(client: httpx.AsyncClient, seed: int, outcome: Outcome) -> bool:
    async with aconnect_sse(client, "POST", "/execute", json={**TINY, "seed": seed}) as source:
        if _refused(source.response, outcome):
            return False
        outcome.events = [(sent.event, sent.json()) async for sent in source.aiter_sse() if sent.data]
        return True


async def _hives_client(client: httpx.AsyncClient, seed: int, outcome: Outcome) -> bool:
    response = await client.post("/v1/jobs", json={**HIVES, **TINY, "seed": seed})
    if _refused(response, outcome):
        return False
    async with aconnect_sse(client, "GET", response.json()["sse_url"]) as source:
        sent = [each async for each in source.aiter_sse() if each.data]
    outcome.events, outcome.marker = [(each.event, each.json()) for each in sent[:-1]], sent[-1].data
    return True


def _refused(response: httpx.Response, outcome: Outcome) -> bool:
    if response.status_code == 429:
        outcome.refusals.append(response.headers["retry-after"])
        return True
    assert response.status_code == 200
    return False


async def _crowd(worker: WorkerProcess, holder: str) -> list[Outcome]:
    """All come while the worker is busy; it is let go once everybody has a place or was refused one."""
    outcomes = [Outcome() for _ in range(CLIENTS)]
    # No connection is used again that the server may be about to close, as it does after five idle seconds.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CLIENTS, keepalive_expiry=1)
    async with httpx.AsyncClient(base_url=worker.url, timeout=60, limits=limits, trust_env=False) as client:

        async def come_until_served(index: int) -> None:
            ask = _hives_client if index % 2 else _seed_client
            while not await ask(client, index, outcomes[index]):
                # Sooner than told: that nobody is left behind is the matter here, and being refused again is harmless.
                await asyncio.sleep(0.1)

        async def let_go() -> None:
            while sum(bool(outcome.refusals) for outcome in outcomes) < CLIENTS - QUEUE_SIZE:
                await asyncio.sleep(0.01)
            await client.delete(f"/v1/jobs/{holder}")

        await asyncio.gather(let_go(), *map(come_until_served, range(CLIENTS)))
    return outcomes


def test_a_hundred_clients_of_both_dialects() -> None:
    worker = impatient()
    idle(worker)
    before = len(worker.lines)
    with busy(worker) as holder:
        outcomes = asyncio.run(_crowd(worker, holder))
    assert sum(bool(outcome.refusals) for outcome in outcomes) >= CLIENTS - QUEUE_SIZE
    assert all(int(wait) >= 1 for outcome in outcomes for wait in outcome.refusals)
    for index, outcome in enumerate(outcomes):
        names = [name for name, _ in outcome.events]
        assert [name for name in names if name in ENDS] == [names[-1]] == ["complete"], outcome
        assert outcome.events[-1][1]["seeds"] == [index]
        assert outcome.marker == ("[DONE]" if index % 2 else "")
    pictures = Counter(outcome.events[-1][1]["image"] for outcome in outcomes)
    assert len(pictures) == CLIENTS
    log = [match for line in worker.lines[before:] if (match := re.search(r"(job-\S+) (queued|started)", line))]
    queued, started = ([match[1] for match in log if match[2] == word] for word in ("queued", "started"))
    assert len(queued) == CLIENTS + 1
    assert started == queued


def test_who_waits_long_is_told_the_newest_place_alone_when_coming_late() -> None:
    worker = impatient()
    with busy(worker):
        jobs = [submit(worker, TINY) for _ in range(8)]
        for job in jobs[:-1]:
            worker.client.delete(f"/v1/jobs/{job}")
        assert worker.client.get(f"/v1/jobs/{jobs[-1]}").json()["position"] == 1
    events, marker = job_events(worker, jobs[-1])
    places = [event.data["position"] for event in events if event.name == "queued"]
    assert len(places) == 1
    assert places[0] <= 1
    assert marker == "[DONE]"


def test_jobs_that_fail_do_not_disturb_those_around_them() -> None:
    worker = failing()
    prompts = ["a robot", "panic", "a robot", "out of memory", "a robot"]
    jobs = [submit(worker, {**TINY, "prompt": prompt}) for prompt in prompts]
    markers = [job_events(worker, job)[1] for job in jobs]
    assert [marker.partition(" ")[0] for marker in markers] == ["[DONE]", "[ERROR]", "[DONE]", "[ERROR]", "[DONE]"]
