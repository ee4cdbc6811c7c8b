"""Processes that serve a workspace: they start, they are found, they stop."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from components.workspace import Workspace
from flows.processes import (
    Service,
    ServiceError,
    answers,
    free_port,
    read_up,
    require_port,
    start_service,
    stop_services,
    wait_until_ready,
    write_up,
)


def web_server(folder: Path) -> Service:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    return start_service("web", command, f"http://127.0.0.1:{port}", folder / "web.log", {}, folder)


def test_a_service_is_ready_when_it_answers_and_gone_when_it_was_stopped(tmp_path):
    service = web_server(tmp_path)
    wait_until_ready(service, "/")
    stop_services([service])
    assert not answers(service.url)
    assert not psutil.pid_exists(service.process.pid)


def test_a_service_that_ignores_sigterm_is_stopped_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.processes.STOP_S", 0.5)
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    service = start_service("stubborn", [sys.executable, "-c", stubborn], "", tmp_path / "log", {}, tmp_path)
    while "up" not in service.log.read_text():
        pass
    stop_services([service])
    assert service.process.returncode == -9


def test_a_service_stops_when_the_process_that_started_it_is_killed(tmp_path):
    starter = f"""
import os, sys
from pathlib import Path
from flows.processes import start_service
folder = Path({str(tmp_path)!r})
service = start_service("sleep", ["sleep", "60"], "", folder / "log", {{}}, folder)
print(service.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    started = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=False)
    service = int(started.stdout)
    psutil.wait_procs([psutil.Process(service)] if psutil.pid_exists(service) else [], timeout=10)
    assert not psutil.pid_exists(service)


def test_a_service_that_dies_while_starting_shows_the_end_of_its_log(tmp_path):
    failing = [sys.executable, "-c", "raise SystemExit('no such database')"]
    service = start_service("web", failing, "http://127.0.0.1:9", tmp_path / "log", {}, tmp_path)
    with pytest.raises(ServiceError, match="no such database"):
        wait_until_ready(service, "/")


def test_a_taken_port_is_named_with_the_setting_that_moves_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Port {port} is in use.*VISIONLOOP_SERVE_PORT"):
            require_port(port, "VISIONLOOP_SERVE_PORT")
        assert free_port(port) != port


def test_what_up_runs_is_found_while_it_lives_only(workspace: Workspace, tmp_path):
    assert read_up(workspace) == {}
    service = web_server(tmp_path)
    write_up(workspace, [service])
    assert read_up(workspace) == {"web": service.url}
    stop_services([service])
    (workspace.state / "up.json").write_text('{"pid": 999999999, "services": []}')
    assert read_up(workspace) == {}
