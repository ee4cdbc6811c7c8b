"""Processes of this machine that serve the workspace: start them, know when they are ready, stop them cleanly.

In: commands. Out: running processes with a log file each, and `.visionloop/up.json` that names them for `status` and
for other commands. What to run is `flows.up`; the Prefect server alone is `flows.server`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.dvc_command import die_with_parent
from components.workspace import Workspace, replace_file

STOP_S = 15.0  # grace between SIGTERM and SIGKILL


class ServiceError(RuntimeError):
    """A process could not start or is not ready; the message names its log."""


@dataclass(frozen=True)
class Service:
    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]


def start_service(
    name: str, command: Sequence[str], url: str, log: Path, environment: Mapping[str, str], cwd: Path
) -> Service:
    """Start `command` in a session of its own, so that Ctrl-C reaches it only through `stop_services`.

    On Linux it stops by itself when this process is killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | dict(environment),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    return Service(name, url, log, process)


def wait_until_ready(service: Service, path: str, timeout_s: float = 120.0) -> None:
    """Return when GET `service.url + path` answers 2xx; raise ServiceError when it died or took too long."""
    deadline = time.monotonic() + timeout_s
    while not answers(service.url + path):
        if service.process.poll() is not None:
            raise ServiceError(
                f"{service.name} stopped while starting (exit {service.process.returncode}):\n{_tail(service.log)}"
            )
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{service.name} did not answer at {service.url} in {timeout_s:.0f} s; see {service.log}"
            )
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether GET `url` answers with success within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status < 300)
    except (urllib.error.URLError, OSError):
        return False


def stop_services(services: Sequence[Service]) -> None:
    """SIGTERM to all, newest first, then SIGKILL to whole process groups that have not gone in STOP_S."""
    for service in reversed(services):
        _signal(service, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for service in reversed(services):
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(max(0.1, deadline - time.monotonic()))
        _signal(service, signal.SIGKILL)
        service.process.wait()


def _signal(service: Service, number: signal.Signals) -> None:
    try:
        os.killpg(service.process.pid, number)
    except ProcessLookupError:
        return


def free_port(preferred: int = 0) -> int:
    """`preferred` when nobody listens there, else any free port of the loopback address."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceError("No free port on 127.0.0.1.")


def require_port(port: int, setting: str) -> None:
    """Raise ServiceError when somebody listens on `port`, naming the setting that moves it."""
    if free_port(port) != port:
        raise ServiceError(f"Port {port} is in use. Stop what listens there, or set {setting} to another port.")


def write_up(workspace: Workspace, services: Sequence[Service]) -> None:
    """Name the running services in .visionloop/up.json."""
    rows = [{"name": each.name, "url": each.url, "pid": each.process.pid, "log": str(each.log)} for each in services]
    with replace_file(workspace.state / "up.json") as path:
        path.write_text(json.dumps({"pid": os.getpid(), "services": rows}, indent=2), encoding="utf-8")


def read_up(workspace: Workspace) -> dict[str, str]:
    """URL by name of the services that `up` runs now; empty when it does not run."""
    try:
        found = json.loads((workspace.state / "up.json").read_text(encoding="utf-8"))
        os.kill(found["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError, json.JSONDecodeError):
        return {}
    return {row["name"]: row["url"] for row in found["services"]}


def python_module(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *arguments]


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
