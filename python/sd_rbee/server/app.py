"""The application: routes, the guard before them, errors behind them, the schema beside them."""

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, StoplightRenderPlugin

import sd_rbee
from sd_rbee.server.bodies import components
from sd_rbee.server.control import ControlController
from sd_rbee.server.drawing import DrawingController
from sd_rbee.server.guard import Guard
from sd_rbee.server.health import HealthController
from sd_rbee.server.jobs import JobsController
from sd_rbee.server.responses import handle_exception
from sd_rbee.server.worker import Worker


def create_app(worker: Worker) -> Litestar:
    """The worker's ASGI application."""

    def provide_worker() -> Worker:
        return worker

    return Litestar(
        [ControlController, DrawingController, HealthController, JobsController],
        dependencies={"worker": Provide(provide_worker, sync_to_thread=False)},
        middleware=[lambda app: Guard(app, worker.settings)],
        exception_handlers={HTTPException: handle_exception, Exception: handle_exception},
        request_max_body_size=worker.settings.limits.max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="sd-rbee worker",
            version=sd_rbee.__version__,
            description="Draws pictures with Stable Diffusion.",
            components=components(),
            use_handler_docstrings=True,
            path="/schema",
            render_plugins=[JsonRenderPlugin(), StoplightRenderPlugin()],
        ),
        # The process has set up its logs already.
        logging_config=None,
        debug=False,
    )
