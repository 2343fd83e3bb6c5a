"""The application: the guard, the routes behind it, errors behind them, the schema beside them."""

from typing import Any

from litestar import Litestar, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp

import sd_rbee
from sd_rbee.server.control import ControlController
from sd_rbee.server.drawing import DrawingController
from sd_rbee.server.guard import Guard
from sd_rbee.server.health import HealthController
from sd_rbee.server.jobs import JobsController
from sd_rbee.server.reference import ReferencePage
from sd_rbee.server.responses import handle_exception
from sd_rbee.server.schema import SchemaFile, components
from sd_rbee.server.worker import Worker


def create_app(worker: Worker) -> ASGIApp:
    """The worker's ASGI application."""

    def provide_worker() -> Worker:
        return worker

    secured = worker.settings.token is not None
    routes = Litestar(
        [ControlController, DrawingController, HealthController, JobsController],
        dependencies={"worker": Provide(provide_worker, sync_to_thread=False)},
        exception_handlers={HTTPException: handle_exception, Exception: handle_exception},
        request_max_body_size=worker.settings.limits.max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="sd-rbee worker",
            version=sd_rbee.__version__,
            description="Draws pictures with Stable Diffusion.",
            components=components(secured=secured),
            security=[{"bearer": []}] if secured else None,
            use_handler_docstrings=True,
            openapi_router=Router(
                "/schema", route_handlers=[], include_in_schema=False, after_request=_refuse_as_everywhere
            ),
            render_plugins=[ReferencePage(lambda: worker.bounds), SchemaFile(lambda: worker.bounds)],
        ),
        # The process has set up its logs already.
        logging_config=None,
        debug=False,
    )
    return Guard(routes, worker.settings)


def _refuse_as_everywhere(response: Response[Any]) -> Response[Any]:
    """Litestar has a page of its own for what is missing under the schema."""
    if response.status_code == 404:
        raise NotFoundException
    return response
