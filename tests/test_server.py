"""The service as a process: quick to start, kind when stopped, and true to its word when killed."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from PIL import Image

from components.serving.server import ServeError, listen
from components.settings import load_settings
from components.state.database import open_predictions
from components.state.image_store import ImageStore
from components.state.predictions import by_request, count
from components.workspace import Workspace
from tests.bundles import promote, tiny_bundle
from tests.conftest import change_params
from tests.drawing import encode

PNG = {"Content-Type": "image/png"}
HEAVY = ("torch", "torchvision", "mlflow", "prefect", "evidently", "great_expectations", "sklearn", "pandas", "nncf")
STARTED = """
import json, sys, time
from itertools import pairwise
from pathlib import Path
from components.params import load_params
from components.serving.app import create_app
from components.settings import load_settings
from components.workspace import open_workspace
import uvicorn
workspace = open_workspace(Path(sys.argv[1]))
app = create_app(workspace, load_params(workspace.params), load_settings(workspace))
app.state.running.champion.follow()
assert app.state.running.champion.current
print(json.dumps({"cpu_s": time.process_time(), "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def noise(seed: int) -> bytes:
    return encode(Image.frombytes("L", (16, 16), random.Random(seed).randbytes(256)))


@pytest.fixture
def served(workspace: Workspace) -> Workspace:
    change_params(workspace, serve={"poll_s": 0.02})
    promote(workspace, 60, tiny_bundle(workspace, 0.60).digest)
    return workspace


@pytest.fixture
def port() -> int:
    with listen("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


def start(workspace: Workspace, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "components.serving", "--workspace", str(workspace.root), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(workspace: Workspace, port: int) -> Iterator[subprocess.Popen[str]]:
    process = start(workspace, port)
    try:
        wait_until_ready(port, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def client_on(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=PNG, timeout=30, verify=False)  # no TLS to set up


def wait_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    with client_on(port) as client:
        while process.poll() is None:
            try:
                if client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    raise AssertionError(process.communicate())


def wait_until_queued(port: int, images: int) -> None:
    with client_on(port) as client:
        while f"visionloop_queue_depth {images}.0" not in client.get("/metrics").text:
            time.sleep(0.02)


@dataclass
class Clients:
    """Threads that send pictures until told to stop, and remember every answer. A broken connection is no answer."""

    port: int
    threads: int = 4
    answers: list[tuple[int, bytes, dict[str, object]]] = field(default_factory=list)  # status, picture, body
    broken: int = 0
    enough: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(seed,)) for seed in range(self.threads)]
        for thread in threads:
            thread.start()
        yield
        self.enough.set()
        for thread in threads:
            thread.join()

    def wait_for_answers(self, more: int) -> None:
        wanted = len(self.answers) + more
        while len(self.answers) < wanted:
            time.sleep(0.005)

    def _send(self, seed: int) -> None:
        random_ = random.Random(seed)
        with client_on(self.port) as client:
            while not self.enough.is_set():
                picture = noise(random_.randrange(1 << 30))
                try:
                    answer = client.post("/predict", content=picture)
                except httpx.TransportError:
                    self.broken += 1
                    time.sleep(0.01)
                else:
                    self.answers.append((answer.status_code, picture, answer.json()))


def test_the_service_starts_light(served: Workspace) -> None:
    told = subprocess.run([sys.executable, "-c", STARTED, str(served.root)], capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    assert not set(HEAVY) & set(found["modules"])
    assert found["cpu_s"] < 4  # about 1.5 s on a quiet machine


def complaint_of(workspace: Workspace, port: int = 0) -> str:
    """What the service says when it will not start."""
    with start(workspace, port) as process:
        try:
            said, complaint = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (1, "")
    assert "Traceback" not in complaint
    return complaint


def test_a_port_in_use_is_named_with_what_to_do(served: Workspace) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        complaint = complaint_of(served, port)
    expected = f"Port {port} on 127.0.0.1 is in use. Choose another with --port or VISIONLOOP_SERVE_PORT.\n"
    assert complaint == expected


def test_a_folder_that_is_no_workspace_is_named(tmp_path: Path) -> None:
    assert "is not a workspace" in complaint_of(Workspace(tmp_path))


def test_a_database_that_does_not_open_is_named(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISIONLOOP_DATABASE_URL", f"sqlite:///{tmp_path / 'file' / 'state.db'}")
    complaint = complaint_of(served)
    assert "The database cannot be opened" in complaint
    assert "VISIONLOOP_DATABASE_URL" in complaint


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com"])
def test_the_service_does_not_open_itself_to_the_network(host: str) -> None:
    with pytest.raises(ServeError, match="VISIONLOOP_HOST"):
        listen(host, 0)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_answers_what_it_has_begun_and_frees_its_port(
    served: Workspace, port: int, stop: signal.Signals
) -> None:
    change_params(served, serve={"batch_window_ms": 2000})
    answers: list[int] = []

    def send(seed: int) -> None:
        with client_on(port) as client:
            answers.append(client.post("/predict", content=noise(seed)).status_code)

    with serving(served, port) as process:
        threads = [threading.Thread(target=send, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        wait_until_queued(port, 3)  # and the first has left the queue to wait for them
        assert not answers
        process.send_signal(stop)
        for thread in threads:
            thread.join()
        said, complaint = process.communicate(timeout=30)
        assert answers == [200] * 4
        assert process.returncode in {0, -stop}
        assert "Traceback" not in complaint
        assert said.startswith("visionloop serves")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_models_are_exchanged_under_load_without_a_failed_request(served: Workspace, port: int) -> None:
    digests = {60: tiny_bundle(served, 0.60).digest, 80: tiny_bundle(served, 0.80).digest}
    clients = Clients(port)
    with serving(served, port), clients.at_work():
        for version in [80, 60] * 5:
            promote(served, version, digests[version])
            clients.wait_for_answers(10)
            time.sleep(0.1)
    assert clients.broken == 0
    assert {status for status, _, _ in clients.answers} == {200}
    versions = [body["model_version"] for _, _, body in clients.answers]
    changes = sum(before != after for before, after in pairwise(versions))
    assert changes >= 5
    for _, _, body in clients.answers:  # each model has a confidence of its own
        [prediction] = body["predictions"]  # type: ignore[misc]
        assert prediction["confidence"] == pytest.approx(body["model_version"] / 100, abs=1e-4)


def kill_and_check(served: Workspace, port: int, kills: int, seed: int) -> int:
    """Kill the service `kills` times at random moments under load; check every answer; return how many there were."""
    clients = Clients(port)
    random_ = random.Random(seed)
    for _ in range(kills):
        clients.enough.clear()
        with serving(served, port) as process, clients.at_work():
            clients.wait_for_answers(1)
            time.sleep(random_.uniform(0, 0.3))
            process.kill()
    log = open_predictions(load_settings(served).predictions_url)
    store = ImageStore(served.images)
    ids = [str(body["request_id"]) for status, _, body in clients.answers if status == 200]
    assert len(ids) == len(clients.answers) == len(set(ids))
    for _, picture, body in clients.answers:
        [row] = by_request(log, str(body["request_id"]))
        assert row.image_id == hashlib.sha256(picture).hexdigest()
        assert store.read(row.image_id) == picture
    assert count(log) >= len(ids)
    with log.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    log.dispose()
    return len(ids)


def test_no_answer_is_lost_when_the_service_is_killed(served: Workspace, port: int) -> None:
    assert kill_and_check(served, port, kills=2, seed=1) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_answer_is_lost_in_a_hundred_kills(served: Workspace, port: int) -> None:
    assert kill_and_check(served, port, kills=100, seed=2) > 1000
