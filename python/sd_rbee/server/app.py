"""The application: the guard, the routes behind it, errors behind them, the schema beside them."""

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
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
            path="/schema",
            render_plugins=[ReferencePage(), SchemaFile()],
        ),
        # The process has set up its logs already.
        logging_config=None,
        debug=False,
    )
    return Guard(routes, worker.settings)
