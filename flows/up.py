"""Everything a workspace needs, on this machine: Prefect, its runner, the prediction service, the MLflow UI.

In: a workspace. Out: five addresses, until Ctrl-C or SIGTERM stops all of it cleanly. A service that dies takes the
others down with a message, so that what looks up is up. Everything listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from components.settings import Settings, load_settings
from components.workspace import Workspace
from flows.by_hand import catch_up
from flows.processes import (
    Service,
    ServiceError,
    python_module,
    read_up,
    require_port,
    start_service,
    stop_services,
    wait_until_ready,
    write_up,
)
from flows.server import ENVIRONMENT, start_server, use_server


def up(workspace: Workspace, *, port: int | None = None) -> None:
    """Run until interrupted; raise ServiceError when a port is taken or a service dies."""
    settings = load_settings(workspace)
    if port is not None:
        settings = settings.model_copy(update={"serve_port": port})
    with running(workspace, settings) as services:
        for line in addresses(services):
            print(line, flush=True)
        print("Ctrl-C stops all of it.", flush=True)
        watch(services)
    print("Stopped.", flush=True)


@contextmanager
def running(workspace: Workspace, settings: Settings, *, mlflow: bool = True) -> Iterator[list[Service]]:
    """Start all services (the MLflow UI if `mlflow`), yield them when ready, stop them at the end of the block."""
    already = read_up(workspace)
    if already:
        raise ServiceError(f"`visionloop up` runs already for this workspace: {', '.join(already.values())}")
    require_port(settings.prefect_port, "VISIONLOOP_PREFECT_PORT")
    require_port(settings.serve_port, "VISIONLOOP_SERVE_PORT or --port")
    if mlflow:
        require_port(settings.mlflow_port, "VISIONLOOP_MLFLOW_PORT")
    services: list[Service] = []
    with ExitStack() as stack:
        stack.callback(lambda: (workspace.state / "up.json").unlink(missing_ok=True))
        stack.callback(lambda: stop_services(services))
        for service in start_all(workspace, settings, mlflow):
            services.append(service)
            write_up(workspace, services)
        wait_until_ready(find(services, "predictions"), "/healthz")
        yield services


def start_all(workspace: Workspace, settings: Settings, mlflow: bool) -> Iterator[Service]:
    """Yield each service as soon as its process runs, in the order in which they need each other."""
    logs = workspace.state / "logs"
    yield start_predictions(workspace, settings)
    if mlflow:
        yield start_mlflow(workspace, settings)
    prefect = start_server(workspace, settings.prefect_port)
    yield prefect
    wait_until_ready(prefect, "/api/health")
    use_server(prefect.url)
    from flows.deployments import reconcile

    reconcile()
    catch_up(workspace)
    runner = python_module("flows.deployments", str(workspace.root))
    yield start_service("runner", runner, prefect.url, logs / "runner.log", ENVIRONMENT, workspace.root)


def start_predictions(workspace: Workspace, settings: Settings) -> Service:
    """The prediction service on 127.0.0.1:`serve_port`."""
    command = python_module(
        "components.serving", "--workspace", str(workspace.root), "--port", str(settings.serve_port)
    )
    url = f"http://127.0.0.1:{settings.serve_port}"
    return start_service("predictions", command, url, workspace.state / "logs" / "predictions.log", {}, workspace.root)


def start_mlflow(workspace: Workspace, settings: Settings) -> Service:
    """The MLflow UI over the workspace's experiments; the pipeline itself never talks to it."""
    from components.registry import tracking

    tracking.connect(settings)  # two processes that create its tables at once crash
    arguments = ["--backend-store-uri", settings.mlflow_uri, "--host", "127.0.0.1", "--port", str(settings.mlflow_port)]
    command = python_module("mlflow", "server", *arguments, "--workers", "1")
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    return start_service("mlflow", command, url, workspace.state / "logs" / "mlflow.log", {}, workspace.root)


def watch(services: list[Service]) -> None:
    """Sleep until a signal asks to stop; raise ServiceError when a service has died."""
    stop = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        while True:
            for each in services:
                if each.process.poll() is not None:
                    raise ServiceError(f"{each.name} stopped (exit {each.process.returncode}); see {each.log}")
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, stop)


def addresses(services: list[Service]) -> list[str]:
    """One line for each page a person may open."""
    titles = {"predictions": "Predictions", "mlflow": "MLflow", "prefect": "Prefect"}
    return [f"{titles[each.name]:<12} {each.url}" for each in services if each.name in titles]


def find(services: list[Service], name: str) -> Service:
    return next(each for each in services if each.name == name)
