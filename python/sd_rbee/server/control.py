"""The front page, and the ways to stop things."""

import asyncio
from typing import Any

from litestar import Controller, Request, Response, get, post

from sd_rbee.server.bodies import operation, parse
from sd_rbee.server.worker import Worker

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


class ControlController(Controller):
    """`/`, `/cancel` and `/shutdown`."""

    tags = ["control"]

    @get("/", media_type="text/html", include_in_schema=False)
    async def page(self, request: Request[Any, Any, Any], worker: Worker) -> str:
        """Says what this is."""
        return _PAGE.format(
            model=_escape(worker.settings.model_version), state=worker.engine.state.value, url=request.base_url
        )

    @post("/cancel", status_code=202, operation_class=operation("cancel"))
    async def cancel(self, request: Request[Any, Any, Any], worker: Worker) -> dict[str, str]:
        """Stops a job; may be repeated."""
        job = worker.engine.cancel(parse(await request.body(), "cancel").job_id)
        return {"job_id": job.id, "status": job.state if job.over else "cancelled"}

    @post(["/shutdown", "/v1/shutdown", "/v1/admin/shutdown"], status_code=202)
    async def shutdown(self, worker: Worker) -> Response[dict[str, str]]:
        """Ends the worker in good order."""
        # The answer first.
        asyncio.get_running_loop().call_later(0.05, worker.stop)
        return Response({"status": "shutting down"}, status_code=202)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
