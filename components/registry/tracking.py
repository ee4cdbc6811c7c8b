"""What was learned: runs, metrics, pictures, datasets and model versions in MLflow. The only importer of mlflow.

In: settings and news. Out: run ids, version numbers, addresses for people. Embedded, MLflow is the library on a SQLite
file, without any server; with an http address in `MLFLOW_TRACKING_URI` the same code talks to a server. No decision is
taken from what MLflow says: promotions are in `components.state.ledger`, and aliases here follow them. Every function
raises TrackingError when MLflow is away.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from components.report import Report, Row, Silent
from components.settings import Settings
from components.workspace import one_at_a_time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from components.registry.bundle import Bundle

EXPERIMENT = MODEL = "visionloop"  # name of the experiment and of the registered model
PROCESS = "visionloop.process"  # tag: which process a run lives in
BATCH = 100  # parameters that MLflow takes in one call
PATIENCE_S = 60.0  # after a failure a stage leaves MLflow alone for this long


class TrackingError(RuntimeError):
    """MLflow cannot be reached or refused; the message says what was tried and what to do."""


def connect(settings: Settings) -> None:
    """Make sure of the database, the experiment and the registered model."""
    with _mlflow(settings, "connect"):
        pass


def start_run(
    settings: Settings, name: str, tags: Mapping[str, str], params: Mapping[str, str], parent: str | None = None
) -> str:
    """Begin a run, inside run `parent` where one is given; return its id. Runs of killed processes are ended."""
    with _mlflow(settings, f"start the run {name!r}") as client:
        from mlflow.entities import Param

        _end_abandoned(client)
        about = {**tags, PROCESS: _process()} | ({"mlflow.parentRunId": parent} if parent else {})
        run_id: str = client.create_run(_experiment(client), tags=about, run_name=name).info.run_id
        entries = [Param(key, value) for key, value in params.items()]
        for first in range(0, len(entries), BATCH):
            client.log_batch(run_id, params=entries[first : first + BATCH])
        return run_id


def end_run(settings: Settings, run_id: str, status: str = "FINISHED") -> None:
    """End the run as FINISHED, FAILED or KILLED."""
    with _mlflow(settings, f"end run {run_id}") as client:
        client.set_terminated(run_id, status)


def log_metrics(settings: Settings, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
    """Add metrics to a run. Names are the same in every run, with the split or `engine` in front: `test/top1`."""
    with _mlflow(settings, f"log metrics of run {run_id}") as client:
        client.log_batch(run_id, metrics=_metrics(values, step))


def log_picture(settings: Settings, run_id: str, name: str, png: bytes) -> None:
    """Keep a PNG as the run's artifact pictures/`name`.png."""
    with _mlflow(settings, f"keep the picture {name!r}") as client, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name.replace('/', '-')}.png"
        path.write_bytes(png)
        client.log_artifact(run_id, str(path), "pictures")


def log_table(settings: Settings, run_id: str, name: str, rows: Sequence[Row]) -> None:
    """Keep `rows` as the run's table `name`, which MLflow shows side by side for several runs."""
    columns = dict.fromkeys(key for row in rows for key in row)
    with _mlflow(settings, f"keep the table {name!r}") as client:
        client.log_table(run_id, {key: [row.get(key) for row in rows] for key in columns}, f"tables/{name}.json")


def log_dataset(settings: Settings, run_id: str, digest: str, source: str, profile: Mapping[str, int]) -> None:
    """Note on which version of the dataset the run stands, where it lies, and how many images it has of what."""
    with _mlflow(settings, f"note the dataset of run {run_id}") as client:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(EXPERIMENT, digest, "dvc", json.dumps({"uri": source}), profile=json.dumps(dict(profile)))
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def register(settings: Settings, bundle: Bundle, run_id: str, tags: Mapping[str, str]) -> int:
    """Keep the bundle with run `run_id` and make it a model version; a bundle that is one already keeps its number."""
    with _mlflow(settings, f"register model {bundle.digest[:12]}") as client:
        known = client.search_model_versions(f"name = '{MODEL}' and tags.digest = '{bundle.digest}'")
        if known:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL, known[0].version, key, value)
            return int(known[0].version)
        client.log_artifacts(run_id, str(bundle.path), "bundle")
        about = {**tags, "digest": bundle.digest}
        return int(client.create_model_version(MODEL, f"runs:/{run_id}/bundle", run_id, tags=about).version)


def set_alias(settings: Settings, version: int | None, alias: str) -> None:
    """Let `alias` point to `version`, or to nothing."""
    with _mlflow(settings, f"point the alias {alias!r} to model version {version}") as client:
        if version is None:
            client.delete_registered_model_alias(MODEL, alias)
        else:
            client.set_registered_model_alias(MODEL, alias, str(version))


def aliases(settings: Settings) -> dict[str, int]:
    """Alias -> model version."""
    with _mlflow(settings, "read the aliases") as client:
        return {alias: int(version) for alias, version in client.get_registered_model(MODEL).aliases.items()}


def run_url(settings: Settings, run_id: str) -> str:
    """Where people see the run: on the tracking server, or on the UI that `visionloop up` starts."""
    with _mlflow(settings, f"find run {run_id}") as client:
        experiment = client.get_run(run_id).info.experiment_id
    return f"{ui_url(settings)}/#/experiments/{experiment}/runs/{run_id}"


def version_url(settings: Settings, version: int) -> str:
    """Where people see a model version."""
    return f"{ui_url(settings)}/#/models/{MODEL}/versions/{version}"


def ui_url(settings: Settings) -> str:
    """Address of MLflow's pages, without credentials."""
    if not settings.mlflow_uri.startswith("http"):
        return f"http://127.0.0.1:{settings.mlflow_port}"
    address = urlsplit(settings.mlflow_uri)
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")


@contextmanager
def stage_report(settings: Settings, stage: str) -> Iterator[Report]:
    """A Report into a run named after the stage, inside run `settings.parent_run`.

    When MLflow goes away while the stage works, the stage goes on: metrics wait until it is back.
    """
    report = _StageReport(settings, start_run(settings, stage, {"stage": stage}, {}, settings.parent_run or None))
    status = "FAILED"
    try:
        yield report
        status = "FINISHED"
    finally:
        report.close(status)


@dataclass
class _StageReport(Silent):
    settings: Settings
    run_id: str
    unsent: list[tuple[Mapping[str, float], int]] = field(default_factory=list)
    away_until: float = 0.0  # monotonic seconds

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.unsent.append((dict(values), step or 0))
        self._try(self._send)

    def picture(self, name: str, png: bytes) -> None:
        self._try(lambda: log_picture(self.settings, self.run_id, name, png))

    def table(self, name: str, rows: Sequence[Row]) -> None:
        self._try(lambda: log_table(self.settings, self.run_id, name, rows))

    def close(self, status: str) -> None:
        self.away_until = 0.0
        self._try(self._send)
        self._try(lambda: end_run(self.settings, self.run_id, status))

    def _send(self) -> None:
        while self.unsent:
            values, step = self.unsent[0]
            log_metrics(self.settings, self.run_id, values, step)
            del self.unsent[0]

    def _try(self, action: Callable[[], None]) -> None:
        if time.monotonic() < self.away_until:
            return
        try:
            action()
        except TrackingError as error:
            self.away_until = time.monotonic() + PATIENCE_S
            print(f"{error} The stage goes on.", flush=True)


@contextmanager
def _mlflow(settings: Settings, aim: str) -> Iterator[MlflowClient]:
    """A client to do `aim` with; whatever goes wrong becomes a TrackingError."""
    from mlflow.exceptions import MlflowException

    try:
        yield _client(settings.mlflow_uri)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"MLflow at {settings.mlflow_uri} could not {aim}: {reason}"
        credentials, at, _ = urlsplit(settings.mlflow_uri).netloc.rpartition("@")
        raise TrackingError(
            f"{message.replace(credentials + at, '') if at else message} "
            "Mend that, or point MLFLOW_TRACKING_URI elsewhere; then run the same command again."
        ) from (None if at else error)


@functools.cache
def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own default waits for minutes
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if uri.startswith("sqlite"):
        file = Path(make_url(uri).database or "")
        # Two processes that create MLflow's tables at once crash.
        with nullcontext() if _is_made(file) else one_at_a_time(Path(f"{file}.lock")):
            client = MlflowClient(uri, uri)
            # Without a location MLflow puts artifacts into the folder that the process happens to be in.
            _create_missing(client, (file.parent / "mlflow-artifacts").resolve().as_uri())
            with closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA journal_mode=WAL")
        return client
    client = MlflowClient(uri, uri)
    _create_missing(client, None)
    return client


def _is_made(file: Path) -> bool:
    """Whether everything in `_create_missing` has been done, by its last step; costs a millisecond."""
    if not file.is_file():
        return False
    with closing(sqlite3.connect(file)) as database, suppress(sqlite3.OperationalError):
        return bool(database.execute("SELECT 1 FROM registered_models WHERE name = ?", [MODEL]).fetchone())
    return False


def _create_missing(client: MlflowClient, artifacts: str | None) -> None:
    if client.get_experiment_by_name(EXPERIMENT) is None:
        client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise TrackingError(f"MLflow has lost the experiment {EXPERIMENT!r}. Restore its database from a backup.")
    return str(found.experiment_id)


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in values.items()]


def _end_abandoned(client: MlflowClient) -> None:
    """End, as KILLED, runs of this machine whose process is gone: nobody else would."""
    for run in client.search_runs([_experiment(client)], "attributes.status = 'RUNNING'"):
        host, _, process = run.data.tags.get(PROCESS, "").partition(" ")
        if host == os.uname().nodename and not _lives(process):
            client.set_terminated(run.info.run_id, "KILLED")


def _process() -> str:
    """This process, also once its number has been given to another: host, number and start (s since 1970)."""
    return f"{os.uname().nodename} {os.getpid()} {psutil.Process().create_time():.0f}"


def _lives(process: str) -> bool:
    number, _, start = process.partition(" ")
    try:
        return abs(psutil.Process(int(number)).create_time() - float(start)) < 2
    except (psutil.NoSuchProcess, ValueError):
        return False
