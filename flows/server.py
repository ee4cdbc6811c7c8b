"""The Prefect server of a workspace: the one that is running, or one for as long as it is needed.

In: a workspace and settings. Out: `PREFECT_API_URL` in this process's environment, set before anything imports
prefect. History is in `.visionloop/prefect`, so runs by hand show up beside scheduled ones when `up` runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from components.settings import Settings
from components.workspace import Workspace
from flows.processes import Service, free_port, python_module, read_up, start_service, stop_services, wait_until_ready

# What Prefect needs to be told once, everywhere; see each reason.
ENVIRONMENT = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",  # a missing server is an error, not a hidden second one
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",  # s; an alert waits for this before its retraining starts
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # With leases in memory a server that dies leaves its concurrency slots taken for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def use_server(url: str) -> None:
    """Point this process, and what it starts, at the Prefect API of `url` (such as http://127.0.0.1:4200)."""
    os.environ.update(ENVIRONMENT)
    os.environ["PREFECT_API_URL"] = f"{url}/api" if not url.endswith("/api") else url


def start_server(workspace: Workspace, port: int) -> Service:
    """Start a Prefect server on 127.0.0.1:`port` and return at once."""
    command = python_module("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    environment = ENVIRONMENT | {"PREFECT_API_URL": f"{url}/api"}
    return start_service("prefect", command, url, workspace.state / "logs" / "prefect.log", environment, workspace.root)


@contextmanager
def prefect_server(workspace: Workspace, settings: Settings) -> Iterator[str]:
    """Yield the URL of the operator's server, of the one that `up` runs, or of one that ends with this block."""
    running = settings.prefect_url or read_up(workspace).get("prefect")
    if running:
        use_server(running)
        yield running
        return
    service = start_server(workspace, free_port(settings.prefect_port))
    try:
        wait_until_ready(service, "/api/health")
        use_server(service.url)
        yield service.url
    finally:
        stop_services([service])
