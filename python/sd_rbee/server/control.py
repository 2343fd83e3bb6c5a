"""The front page, and the ways to stop things."""

import asyncio
import html
from typing import TYPE_CHECKING, Any

from litestar import Controller, Request, Response, get, post

from sd_rbee.engine import State
from sd_rbee.server.answers import JobStopped, Stopping
from sd_rbee.server.bodies import read
from sd_rbee.server.schema import operation
from sd_rbee.server.worker import Worker

if TYPE_CHECKING:
    from sd_rbee.server.requests import CancelRequest

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>sd-rbee</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}</style>
<h1>sd-rbee</h1>
<p>A worker that draws pictures with Stable Diffusion. It serves <b>{model}</b> and is <b>{state}</b>.</p>
<ul>
<li><a href="/schema">API reference</a>, <a href="/schema/openapi.json">openapi.json</a></li>
<li><a href="/health">health</a>, <a href="/ready">readiness</a>, <a href="/info">model and limits</a>,
<a href="/metrics">metrics</a></li>
</ul>
<pre>curl -N {url}execute -H 'content-type: application/json' -d '{{"prompt": "a robot"}}'</pre>
</html>
"""
_SHUTDOWN = operation(answer="Stopping", ok=202, errors=(415,))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class ControlController(Controller):
    """`/`, `/cancel` and `/shutdown`."""

    tags = ("control",)

    @get("/", media_type="text/html", include_in_schema=False)
    async def page(self, request: Request[Any, Any, Any], worker: Worker) -> Response[str]:
        """Says what this is."""
        model, state = worker.settings.model_version, worker.engine.state.value
        page = _PAGE.format(model=html.escape(model), state=state, url=html.escape(str(request.base_url)))
        return Response(page, media_type="text/html", headers={"content-security-policy": _POLICY})

    @post(
        "/cancel",
        status_code=202,
        operation_class=operation(body="cancel", answer="JobStopped", ok=202, errors=(404, 410)),
    )
    async def cancel(self, request: Request[Any, Any, Any], worker: Worker) -> JobStopped:
        """Stops a job; may be repeated."""
        body: CancelRequest = await read(request, "cancel")
        job = worker.engine.cancel(body.job_id)
        return {"job_id": job.id, "status": job.state if job.over else State.CANCELLED}

    @post(["/shutdown", "/v1/shutdown", "/v1/admin/shutdown"], status_code=202, operation_class=_SHUTDOWN)
    async def shutdown(self, worker: Worker) -> Stopping:
        """Ends the worker in good order."""
        # The answer first.
        asyncio.get_running_loop().call_later(0.05, worker.stop)
        return {"status": "shutting down"}
