"""An address for objects is known to work only after something was written there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.storage import StorageError, check_writable

SEEN: list[tuple[str, str]] = []


class Bucket(BaseHTTPRequestHandler):
    """Enough of S3: takes and removes objects of the bucket `mine`, and has no other."""

    def do_DELETE(self) -> None:
        self.do_PUT()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        SEEN.append((self.command, self.path.partition("?")[0]))
        known = self.path.startswith("/mine/")
        body = b"" if known else b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
        self.send_response({"PUT": 200, "DELETE": 204}[self.command] if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    SEEN.clear()
    yield
    server.shutdown()
    server.server_close()


def test_a_folder_is_made_written_and_left_empty(tmp_path):
    check_writable(str(tmp_path / "remote"))
    assert list((tmp_path / "remote").iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "remote").write_text("")
    with pytest.raises(StorageError, match="remote: File exists"):
        check_writable(str(tmp_path / "remote"))


@pytest.mark.usefixtures("s3")
def test_a_bucket_is_written_under_its_prefix_and_left_as_it_was():
    check_writable("s3://mine/some/prefix")
    assert SEEN == [("PUT", "/mine/some/prefix/.visionloop-probe"), ("DELETE", "/mine/some/prefix/.visionloop-probe")]


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_named():
    with pytest.raises(StorageError, match=r"s3://yours: .*NoSuchBucket"):
        check_writable("s3://yours")


@pytest.mark.usefixtures("s3")
def test_an_s3_server_that_is_away_is_told_at_once(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="Could not connect to the endpoint"):
        check_writable("s3://mine")


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(StorageError, match="neither a folder nor"):
        check_writable("ftp://host/data")
