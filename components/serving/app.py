"""The HTTP service, wired together: `create_app`.

In: a workspace, params and settings. Out: a FastAPI application for one process. What addresses answer is in
`components.serving.routes`, the way of an image in `recognition`, the exchange of models in `champion`, limits and
request ids in `edge`; `server` runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from components.params import Params
from components.serving.edge import LOOPBACK, Edge
from components.serving.problems import answer_with_problems
from components.serving.routes import router
from components.serving.running import Running
from components.settings import Settings
from components.workspace import Workspace

MEGABYTE = 1_000_000


def create_app(workspace: Workspace, params: Params, settings: Settings) -> FastAPI:
    """The application; opens its databases at once and the champion when it starts.

    FastAPI's own pages fetch scripts from the network, so they are replaced by `components.serving.pages`.
    """
    running = Running(workspace, params, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running.at_work():
            yield

    app = FastAPI(title="visionloop", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.running = running
    app.include_router(router)
    app.add_middleware(
        Edge,
        hosts=LOOPBACK,
        max_body=int(params.serve.max_body_mb * MEGABYTE),
        routes={route.path for route in router.routes if isinstance(route, APIRoute)},
        metrics=running.metrics,
    )
    answer_with_problems(app)
    return app
