"""What a client of the service is promised, address by address."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event

from components.data.tables import STATISTICS
from components.serving.app import create_app
from components.serving.problems import STATUS_OF_IMAGE
from components.serving.running import Running
from components.serving.server import listen
from components.settings import load_settings
from components.state.database import open_predictions, open_state
from components.state.feedback import unmerged
from components.state.image_store import ImageStore
from components.state.predictions import by_request, count
from components.workspace import Workspace, create_workspace
from tests.bundles import promote, tiny_bundle
from tests.conftest import change_params
from tests.drawing import encode

INGEST = {"max_pixels": 10_000, "min_side": 8}
SERVE = {"max_body_mb": 0.2, "max_batch": 4, "poll_s": 0.05}


def picture(brightness: int = 255, size: int = 16, image_format: str = "PNG") -> bytes:
    return encode(Image.new("RGB", (size, size), (brightness,) * 3), image_format)


LIGHT, DARK = picture(255), picture(0)
NOISE = encode(Image.effect_noise((50, 50), 90))
CUT = NOISE[: len(NOISE) // 2]
PNG = {"Content-Type": "image/png"}


class Client(httpx.Client):
    """A client beside the service, which tests of faults reach into."""

    running: Running


@contextmanager
def client_of(workspace: Workspace) -> Iterator[Client]:
    """The service on a real socket, in a thread of this process."""
    params = change_params(workspace, ingest=INGEST, serve=SERVE)
    app = create_app(workspace, params, load_settings(workspace))
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        with Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
            client.running = app.state.running
            yield client
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = create_workspace(tmp_path_factory.mktemp("served") / "workspace")
    promote(workspace, 3, tiny_bundle(workspace).digest)
    return workspace


@pytest.fixture(scope="module")
def client(served: Workspace) -> Iterator[Client]:
    with client_of(served) as client:
        yield client


@pytest.fixture
def log(served: Workspace) -> Iterator[Engine]:
    log = open_predictions(load_settings(served).predictions_url)
    yield log
    log.dispose()


def predict(client: httpx.Client, data: bytes, **headers: str) -> httpx.Response:
    return client.post("/predict", content=data, headers=PNG | headers)


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, having checked that it is a whole one."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.keys() == {"type", "title", "status", "code", "detail", "request_id"}
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"]
    return response.status_code, body["code"]


# --- predict


def test_an_image_is_answered_with_label_confidence_and_the_model_that_said_so(client: Client) -> None:
    light, dark = predict(client, LIGHT).json(), predict(client, DARK).json()
    assert (light["model_version"], light["predictions"][0]["label"]) == (3, "light")
    assert dark["predictions"][0]["label"] == "dark"
    [answer] = light["predictions"]
    assert answer["confidence"] == max(answer["probabilities"].values()) == pytest.approx(1 / (1 + np.exp(-4)))
    assert list(answer["probabilities"]) == ["dark", "light"]


def test_every_answer_is_in_the_log_with_its_image(client: Client, served: Workspace, log: Engine) -> None:
    answer = predict(client, LIGHT).json()
    [row] = by_request(log, answer["request_id"])
    assert (row.item, row.model_version, row.label, row.format, row.name) == (0, 3, "light", "PNG", None)
    assert row.probabilities == answer["predictions"][0]["probabilities"]
    assert row.confidence == answer["predictions"][0]["confidence"]
    assert row.statistics.keys() == set(STATISTICS)
    assert ImageStore(served.images).read(row.image_id) == LIGHT


def test_many_files_are_answered_in_order(client: Client, log: Engine) -> None:
    pictures = [DARK, LIGHT, LIGHT, DARK, LIGHT, DARK, DARK]  # more than one batch
    answer = client.post("/predict", files=[("files", (f"{i}.png", data)) for i, data in enumerate(pictures)]).json()
    labels = [item["label"] for item in answer["predictions"]]
    assert labels == ["dark" if data is DARK else "light" for data in pictures]
    rows = by_request(log, answer["request_id"])
    assert [(row.item, row.name, row.label) for row in rows] == [
        (i, f"{i}.png", label) for i, label in enumerate(labels)
    ]


def test_a_bad_image_spoils_only_its_own_item(client: Client, log: Engine) -> None:
    files = [("files", ("a.png", DARK)), ("files", ("b.png", b"no image")), ("files", ("c.png", CUT))]
    answer = client.post("/predict", files=[*files, ("files", ("d.png", LIGHT))])
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["predictions"]
    assert (first["label"], fourth["label"]) == ("dark", "light")
    assert (second["error"]["code"], third["error"]["code"]) == ("not_image", "truncated")
    assert [row.item for row in by_request(log, answer.json()["request_id"])] == [0, 3]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "empty"),
        (b"<html>no image</html>", 415, "not_image"),
        (b"%PDF-1.7 ...", 415, "unsupported_format"),
        (CUT, 422, "truncated"),
        (LIGHT[:20] + bytes(40), 422, "corrupt"),
        (picture(size=4), 422, "too_small"),
        (picture(size=101), 413, "too_many_pixels"),
        (bytes(200_001), 413, "body_too_large"),
    ],
    ids=["empty", "html", "pdf", "truncated", "corrupt", "tiny", "bomb", "huge"],
)
def test_one_bad_image_is_refused_with_a_reason(client: Client, data: bytes, status: int, code: str) -> None:
    assert problem(predict(client, data)) == (status, code)
    if data and len(data) < 200_000:
        assert problem(client.post("/predict", files={"file": ("x.png", data)})) == (status, code)


@given(st.lists(st.tuples(st.integers(0, len(NOISE) - 1), st.binary(max_size=8)), min_size=40, max_size=40))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_a_file_can_break_the_service(client: Client, damages: list[tuple[int, bytes]]) -> None:
    files = [NOISE[:place] + bytes_ + NOISE[place + len(bytes_) :] for place, bytes_ in damages]
    answer = client.post("/predict", files=[("files", ("x", data)) for data in [*files, LIGHT]])
    assert answer.status_code == 200
    items = answer.json()["predictions"]
    assert all(item.get("label") or item["error"]["code"] in STATUS_OF_IMAGE for item in items)
    assert items[-1]["label"] == "light"


def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing_behind(client: Client, log: Engine) -> None:
    before = count(log)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(LIGHT)}\r\n\r\n"
        connection.sendall(head.encode() + LIGHT[:10])
    while not metric(client, "requests_total", route="/predict", status="499"):
        time.sleep(0.01)
    assert count(log) == before
    assert predict(client, LIGHT).status_code == 200


def test_refused_images_are_neither_logged_nor_kept(client: Client, served: Workspace, log: Engine) -> None:
    before = count(log)
    predict(client, CUT)
    assert count(log) == before
    assert not ImageStore(served.images).path(hashlib.sha256(CUT).hexdigest()).exists()


def test_a_body_without_a_declared_length_is_cut_off_at_the_limit(client: Client) -> None:
    chunks = (bytes(50_000) for _ in range(1_000))
    assert problem(client.post("/predict", content=chunks, headers=PNG)) == (413, "body_too_large")
    assert next(chunks, None) is not None, "the service read on to the end"


def test_the_bytes_decide_what_an_image_is(client: Client) -> None:
    for content_type in ("image/gif", "application/octet-stream", "application/x-www-form-urlencoded", ""):
        answer = client.post("/predict", content=LIGHT, headers={"Content-Type": content_type})
        assert answer.json()["predictions"][0]["label"] == "light"


def test_a_form_without_a_file_is_refused(client: Client) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert problem(client.post("/predict", content=b"--b--\r\n", headers=form)) == (400, "no_file")
    assert problem(client.post("/predict", content=b"nonsense", headers=form))[0] == 400
    assert problem(client.post("/predict", content=b"x", headers={"Content-Type": "multipart/form-data"}))[0] == 400


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\0b.png", "x" * 1_000, "<script>.png", "\u202egnp.exe", "'; --"]
)
def test_file_names_are_only_ever_shown(client: Client, served: Workspace, log: Engine, name: str) -> None:
    before = {path for path in served.root.rglob("*") if path.is_file() and served.images not in path.parents}
    answer = client.post("/predict", files={"file": (name, LIGHT, "image/png")})
    assert answer.status_code == 200
    [row] = by_request(log, answer.json()["request_id"])
    assert len(row.name or "") <= 255
    after = {path for path in served.root.rglob("*") if path.is_file() and served.images not in path.parents}
    assert after == before


# --- request ids


def test_a_clients_request_id_is_kept_once(client: Client, log: Engine) -> None:
    first = predict(client, LIGHT, **{"X-Request-ID": "mine-1.a_B"})
    again = predict(client, DARK, **{"X-Request-ID": "mine-1.a_B"})
    assert first.json()["request_id"] == first.headers["X-Request-ID"] == "mine-1.a_B"
    assert again.json()["request_id"] != "mine-1.a_B"
    assert [row.label for row in by_request(log, "mine-1.a_B")] == ["light"]
    assert [row.label for row in by_request(log, again.json()["request_id"])] == ["dark"]


@pytest.mark.parametrize("offered", ["", "x" * 65, "a b", "a/b", "<b>", "a\tb", "ü"])
def test_a_request_id_that_does_not_fit_is_replaced(client: Client, offered: str) -> None:
    headers = [(b"X-Request-ID", offered.encode("latin-1")), (b"Content-Type", b"image/png")]
    answer = client.post("/predict", content=LIGHT, headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", answer.json()["request_id"])


def test_refusals_and_other_addresses_carry_a_request_id_too(client: Client) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc"}).headers["X-Request-ID"] == "abc"
    assert problem(client.get("/nowhere")) == (404, "not_found")
    assert problem(client.get("/predict")) == (405, "method_not_allowed")


# --- feedback


@pytest.fixture
def answered(client: Client) -> str:
    return str(predict(client, LIGHT).json()["request_id"])


@pytest.fixture
def state(served: Workspace) -> Iterator[Engine]:
    state = open_state(load_settings(served).database_url)
    yield state
    state.dispose()


def test_feedback_is_kept_with_its_author_and_can_be_corrected(client: Client, answered: str, state: Engine) -> None:
    for label in ("dark", " light "):
        given = client.post("/feedback", json={"request_id": answered, "label": label, "author": "ann"})
    assert given.json() == {"request_id": answered, "item": 0, "label": "light", "new_class": False}
    kept = [row for row in unmerged(state) if row.request_id == answered]
    assert [(row.label, row.author, row.item, row.source) for row in kept] == [("light", "ann", 0, "feedback")]


def test_a_label_that_the_model_does_not_know_is_kept_and_pointed_out(client: Client, answered: str) -> None:
    given = client.post("/feedback", json={"request_id": answered, "label": "dusk"})
    assert (given.status_code, given.json()["new_class"]) == (200, True)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"request_id": "unknown"}, 404, "unknown_request"),
        ({"request_id": "\ud800"}, 404, "unknown_request"),
        ({"item": 1}, 404, "unknown_request"),
        ({"item": 2**70}, 404, "unknown_request"),
        ({"item": -1}, 422, "invalid_request"),
        ({"label": "  "}, 422, "bad_feedback"),
        ({"label": "a\nb"}, 422, "bad_feedback"),
        ({"label": "\ud800"}, 422, "bad_feedback"),
        ({"label": None}, 422, "invalid_request"),
        ({"author": ""}, 422, "bad_feedback"),
    ],
)
def test_bad_feedback_is_refused_with_a_reason(
    client: Client, answered: str, change: dict[str, Any], status: int, code: str
) -> None:
    body = json.dumps({"request_id": answered, "label": "light"} | change)
    given = client.post("/feedback", content=body, headers={"Content-Type": "application/json"})
    assert problem(given) == (status, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b'{"label": NaN}', bytes(200_001)])
def test_feedback_that_is_no_json_is_refused(client: Client, body: bytes) -> None:
    given = client.post("/feedback", content=body, headers={"Content-Type": "application/json"})
    assert problem(given)[0] in {400, 413, 422}


# --- health, pages, metrics


def test_health_and_readiness(client: Client) -> None:
    assert client.get("/healthz").json() == {"live": True}
    assert client.get("/readyz").json() == {"ready": True, "model_version": 3}


def test_before_the_first_champion_the_service_lives_but_is_not_ready(workspace: Workspace) -> None:
    with client_of(workspace) as client:
        assert client.get("/healthz").status_code == 200
        assert problem(client.get("/readyz")) == (503, "no_model")
        answer = predict(client, LIGHT)
        assert problem(answer) == (503, "no_model")
        assert "visionloop run" in answer.json()["detail"]
        assert "Not ready" in client.get("/").text


def test_pages_say_what_serves_and_fetch_nothing(client: Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert not re.search(r"<script|src=|<link|@import|url\(", page.text)
    assert "version 3" in client.get("/").text
    assert "openvino fp32" in client.get("/").text
    for route in ("POST /predict", "POST /feedback", "GET /readyz"):
        assert route in client.get("/docs").text


def test_openapi_describes_what_is_sent_and_answered(client: Client) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/feedback", "/healthz", "/readyz", "/metrics"}
    assert set(described["paths"]["/predict"]["post"]["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert "application/problem+json" in described["paths"]["/predict"]["post"]["responses"]["415"]["content"]


def metric(client: Client, name: str, **labels: str) -> float:
    samples = [
        sample
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == f"visionloop_{name}" and labels.items() <= sample.labels.items()
    ]
    return sum(sample.value for sample in samples)


def test_metrics_count_requests_batches_and_refusals(client: Client) -> None:
    before = {
        "requests": metric(client, "requests_total", route="/predict", status="200"),
        "images": metric(client, "batch_size_sum"),
        "refused": metric(client, "refused_images_total", code="not_image"),
        "seconds": metric(client, "request_seconds_count", route="/predict"),
    }
    predict(client, LIGHT)
    client.post("/predict", files=[("f", ("a", LIGHT)), ("f", ("b", DARK)), ("f", ("c", b"no"))])
    assert metric(client, "requests_total", route="/predict", status="200") == before["requests"] + 2
    assert metric(client, "batch_size_sum") == before["images"] + 3
    assert metric(client, "refused_images_total", code="not_image") == before["refused"] + 1
    assert metric(client, "request_seconds_count", route="/predict") == before["seconds"] + 2
    assert metric(client, "queue_depth") == 0
    assert metric(client, "model_info", version="3", target="openvino", precision="fp32") == 1


def test_no_metric_holds_what_a_client_sent(client: Client) -> None:
    client.get("/canary-in-path")
    predict(client, LIGHT, **{"X-Request-ID": "canary-in-id"})
    client.post("/predict", files={"canary-field": ("canary.png", b"canary")})
    assert "canary" not in client.get("/metrics").text
    assert metric(client, "requests_total", route="other", status="404") >= 1


# --- who may ask


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080"])
def test_this_machines_own_names_are_answered(client: Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[", "a:b:c"])
def test_other_host_names_are_refused(client: Client, host: str) -> None:
    assert problem(client.get("/healthz", headers={"Host": host})) == (400, "wrong_host")


def test_pages_of_other_sites_are_refused(client: Client) -> None:
    files = {"file": ("x.png", LIGHT)}
    for origin in ("https://evil.example", "null", "http://[", "file://"):
        answer = client.post("/predict", files=files, headers={"Origin": origin})
        assert problem(answer) == (403, "foreign_origin")
    assert client.post("/predict", files=files, headers={"Origin": "http://localhost:3000"}).status_code == 200


# --- when the disk or the database refuses


def full_disk(connection: Any, *_: object) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")


def free_disk(connection: Any, *_: object) -> None:
    connection.execute("PRAGMA max_page_count=1000000")


def test_nothing_is_answered_that_could_not_be_logged(workspace: Workspace) -> None:
    promote(workspace, 1, tiny_bundle(workspace).digest)
    with client_of(workspace) as client:
        log = client.running.log
        event.listen(log, "checkout", full_disk)
        answers = [predict(client, LIGHT) for _ in range(40)]  # the last page has room for a few
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) == count(log)
        assert metric(client, "log_failures_total") == statuses.count(503)
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert problem(refused) == (503, "not_logged")
        assert "INSERT" not in refused.text
        event.remove(log, "checkout", full_disk)
        event.listen(log, "checkout", free_disk)
        assert predict(client, LIGHT).status_code == 200


def test_a_database_that_cannot_be_asked_is_a_503(workspace: Workspace) -> None:
    promote(workspace, 1, tiny_bundle(workspace).digest)
    with client_of(workspace) as client:
        with client.running.log.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE predictions RENAME TO away")
        answer = predict(client, LIGHT, **{"X-Request-ID": "mine"})
        assert problem(answer) == (503, "not_logged")
        assert "SELECT" not in answer.text
        feedback = client.post("/feedback", json={"request_id": "mine", "label": "light"})
        assert problem(feedback) == (503, "not_logged")


def test_nothing_is_answered_whose_image_could_not_be_stored(workspace: Workspace) -> None:
    promote(workspace, 1, tiny_bundle(workspace).digest)
    workspace.images.write_text("a file where the folder should be")
    with client_of(workspace) as client:
        assert problem(predict(client, LIGHT)) == (503, "not_logged")
        assert metric(client, "log_failures_total") == 1
        workspace.images.unlink()
        assert predict(client, LIGHT).status_code == 200


def test_an_engine_that_fails_is_a_500_without_details(workspace: Workspace) -> None:
    promote(workspace, 1, tiny_bundle(workspace).digest)
    with client_of(workspace) as client:
        assert client.running.champion.current
        object.__setattr__(client.running.champion.current, "engine", None)
        answer = predict(client, LIGHT)
        assert problem(answer) == (500, "internal_error")
        assert "NoneType" not in answer.text
        assert metric(client, "requests_total", route="/predict", status="500") == 1
