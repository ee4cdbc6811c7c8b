"""MLflow: made once by whoever comes first, found again by everybody, and never able to stop a stage."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.registry import tracking
from components.registry.bundle import Bundle
from components.registry.tracking import TrackingError
from components.settings import Settings


def settings_at(uri: str, parent_run: str = "") -> Settings:
    return Settings().model_copy(update={"mlflow_uri": uri, "parent_run": parent_run})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a space and an accent: people have such folders."""
    made = tmp_path_factory.mktemp("état") / "my models"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    """One database for all tests here: making it takes seconds."""
    made = settings_at(f"sqlite:///{folder}/mlflow.db")
    code = "from tests.test_tracking import *; tracking.connect(settings_at(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", code, made.mlflow_uri]
    racers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [racer.communicate()[1].decode() for racer in racers] == [""] * 2
    return made


@pytest.fixture
def run_id(settings: Settings) -> Iterator[str]:
    found = tracking.start_run(settings, "training · test", {"reason": "test"}, {"train.lr": "0.001"})
    yield found
    tracking.end_run(settings, found)


@dataclass
class Seen:
    """What MLflow knows of a run, read with MLflow's own client."""

    settings: Settings

    def run(self, run_id: str) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.settings.mlflow_uri, self.settings.mlflow_uri).get_run(run_id)

    def children(self, run_id: str) -> list[Any]:
        from mlflow import MlflowClient

        experiment = self.run(run_id).info.experiment_id
        query = f"tags.mlflow.parentRunId = '{run_id}'"
        return list(MlflowClient(self.settings.mlflow_uri).search_runs([experiment], query))

    def artifact(self, run_id: str, name: str) -> bytes:
        from mlflow.artifacts import download_artifacts

        found = download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=self.settings.mlflow_uri)
        return Path(found).read_bytes()


@pytest.fixture
def seen(settings: Settings) -> Seen:
    return Seen(settings)


def bundle_of(folder: Path, digest: str) -> Bundle:
    (folder / digest / "engine").mkdir(parents=True)
    (folder / digest / "engine" / "engine.json").write_text("{}")
    return Bundle(folder / digest, digest)


def test_processes_that_come_at_once_share_one_database_in_wal_mode(settings: Settings, folder: Path):
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT count(*) FROM experiments WHERE name = 'visionloop'").fetchone() == (1,)
    tracking.connect(settings)


def test_artifacts_lie_beside_the_database_wherever_the_process_was_started(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run_id = tracking.start_run(settings, "elsewhere", {}, {})
    tracking.log_picture(settings, run_id, "confusion", b"png")
    assert len(list((folder / "mlflow-artifacts" / run_id).rglob("confusion.png"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stage_reports_into_a_child_run_of_its_name(settings: Settings, run_id: str, seen: Seen):
    inside = settings.model_copy(update={"parent_run": run_id})
    with tracking.stage_report(inside, "train") as report:
        report.metrics({"val/top1": 0.5}, step=0)
        report.metrics({"val/top1": 0.75}, step=1)
        report.picture("confusion", b"png")
        report.table("per_class", [{"class": "cross", "recall": 0.5}, {"class": "circle", "images": 7}])
    (child,) = seen.children(run_id)
    assert (child.info.run_name, child.info.status) == ("train", "FINISHED")
    assert child.data.metrics == {"val/top1": 0.75}
    assert seen.artifact(child.info.run_id, "pictures/confusion.png") == b"png"
    table = json.loads(seen.artifact(child.info.run_id, "tables/per_class.json"))
    assert table == {"columns": ["class", "recall", "images"], "data": [["cross", 0.5, None], ["circle", None, 7]]}


def test_a_stage_that_fails_is_shown_as_failed(settings: Settings, run_id: str, seen: Seen):
    inside = settings.model_copy(update={"parent_run": run_id})
    with pytest.raises(ZeroDivisionError), tracking.stage_report(inside, "train"):
        1 / 0  # noqa: B018
    assert [child.info.status for child in seen.children(run_id)] == ["FAILED"]


def test_any_number_of_parameters_is_kept(settings: Settings, seen: Seen):
    params = {f"train.option{number}": str(number) for number in range(250)}
    run_id = tracking.start_run(settings, "many", {}, params)
    assert seen.run(run_id).data.params == params


def test_a_run_carries_the_digest_of_its_dataset(settings: Settings, run_id: str, seen: Seen):
    tracking.log_dataset(settings, run_id, "0123456789ab", "/data/remote", {"train": 70, "test": 30})
    (entry,) = seen.run(run_id).inputs.dataset_inputs
    assert entry.dataset.digest == "0123456789ab"
    assert json.loads(entry.dataset.profile) == {"train": 70, "test": 30}


def test_a_bundle_is_registered_once_with_its_files_and_digest(
    settings: Settings, run_id: str, tmp_path: Path, seen: Seen
):
    one, other = bundle_of(tmp_path, "a" * 64), bundle_of(tmp_path, "b" * 64)
    version = tracking.register(settings, one, run_id, {"data_version": "0123"})
    assert tracking.register(settings, one, run_id, {"data_version": "0123"}) == version
    assert tracking.register(settings, other, run_id, {"data_version": "0123"}) == version + 1
    assert seen.artifact(run_id, "bundle/engine/engine.json") == b"{}"


def test_aliases_point_where_they_were_told_last(settings: Settings, run_id: str, tmp_path: Path):
    first, second = (tracking.register(settings, bundle_of(tmp_path, each * 64), run_id, {}) for each in "cd")
    tracking.set_alias(settings, first, "champion")
    tracking.set_alias(settings, second, "challenger")
    tracking.set_alias(settings, second, "champion")
    tracking.set_alias(settings, None, "challenger")
    tracking.set_alias(settings, None, "challenger")
    assert tracking.aliases(settings) == {"champion": second}


def test_the_run_of_a_killed_process_is_shown_as_killed_and_a_live_one_is_left_alone(
    settings: Settings, run_id: str, seen: Seen
):
    code = (
        "from tests.test_tracking import *\n"
        "print(tracking.start_run(settings_at(sys.argv[1]), 'doomed', {}, {}), flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, settings.mlflow_uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        doomed = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
    assert seen.run(doomed).info.status == "RUNNING"
    tracking.end_run(settings, tracking.start_run(settings, "next", {}, {}))
    assert seen.run(doomed).info.status == "KILLED"
    assert seen.run(run_id).info.status == "RUNNING"


def test_addresses_for_people_hold_no_credentials(settings: Settings, run_id: str, seen: Seen):
    experiment = seen.run(run_id).info.experiment_id
    assert tracking.run_url(settings, run_id) == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run_id}"
    server = settings_at("https://me:secret@mlflow.example:8443/base/")
    assert tracking.ui_url(server) == "https://mlflow.example:8443/base"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = settings_at(f"http://me:secret@127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError, match=r"could not start the run 'training'.*MLFLOW_TRACKING_URI") as raised:
        tracking.start_run(away, "training", {}, {})
    assert "secret" not in str(raised.value)


def test_a_stage_goes_on_while_mlflow_is_away_and_loses_no_metric_of_it(
    settings: Settings, run_id: str, seen: Seen, capsys: pytest.CaptureFixture[str], folder: Path
):
    database = folder / "mlflow.db"
    inside = settings.model_copy(update={"parent_run": run_id})
    with tracking.stage_report(inside, "train") as report:
        with sqlite3.connect(database) as other:
            other.execute("ALTER TABLE latest_metrics RENAME TO away")
        report.metrics({"val/loss": 2.0}, step=0)
        report.metrics({"val/loss": 1.0}, step=1)
        with sqlite3.connect(database) as other:
            other.execute("ALTER TABLE away RENAME TO latest_metrics")
    (child,) = seen.children(run_id)
    assert child.data.metrics == {"val/loss": 1.0}
    assert capsys.readouterr().out.count("The stage goes on.") == 1


@pytest.mark.slow
def test_the_same_code_talks_to_a_server(tmp_path: Path):
    server = settings_at(f"http://127.0.0.1:{free_port()}")
    arguments = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--workers", "1", "--port"]
    command = [sys.executable, "-m", "mlflow", "server", *arguments, server.mlflow_uri.rpartition(":")[2]]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True) as process,
    ):
        try:
            wait_for(f"{server.mlflow_uri}/health")
            run_id = tracking.start_run(server, "training", {}, {})
            tracking.log_metrics(server, run_id, {"test/top1": 0.9})
            version = tracking.register(server, bundle_of(tmp_path, "a" * 64), run_id, {})
            tracking.set_alias(server, version, "champion")
            assert tracking.aliases(server) == {"champion": version}
            assert tracking.run_url(server, run_id).startswith(f"{server.mlflow_uri}/#/experiments/")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)
