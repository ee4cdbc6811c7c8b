"""`status` tells how a workspace stands, also before anything has happened in it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from components.data.tables import CONFLICTS, LABELS, MANIFEST, QUARANTINE, SPLITS, write_table
from components.settings import load_settings
from components.state import windows
from components.state.database import alerts, open_state, outbox
from components.state.ledger import promote, record_model, record_verdict
from flows.status import in_words, read_status

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ENGINE = {"target": "openvino", "precision": "int8", "speedup": 5.2, "files": {"model.bin": "0" * 64}}


def rows(schema: pa.Schema, count: int, **columns: list[str]) -> pa.Table:
    """A table of `schema` with `count` rows, null where `columns` says nothing."""
    return pa.table({each.name: pa.array(columns.get(each.name, [None] * count), each.type) for each in schema})


def fill_tables(workspace) -> None:
    ids = ["a", "b", "c"]
    write_table(rows(MANIFEST, 4, image_id=[*ids, "d"]), workspace.manifest)
    write_table(rows(LABELS, 3, image_id=ids, label=["dog", "cat", "dog"]), workspace.labels)
    write_table(rows(SPLITS, 3, image_id=ids, split=["train", "train", "test"]), workspace.splits)
    write_table(rows(QUARANTINE, 2), workspace.quarantine)
    write_table(rows(CONFLICTS, 1), workspace.conflicts)


def register(state, version: int, top1: float, decision: str) -> None:
    metrics = {"top1": top1, "macro_f1": 0.9}
    record_model(state, version, f"{version}" * 64, "run", "feed00000000", metrics, ENGINE, NOW)
    record_verdict(state, version, {"decision": decision, "reasons": ["better"]})


@pytest.fixture
def state(workspace):
    return open_state(load_settings(workspace).database_url)


def status_of(workspace):
    return read_status(workspace, load_settings(workspace))


def test_an_empty_workspace_has_a_status(workspace):
    status = status_of(workspace)
    nothing = {"images": 0, "quarantined": 0, "conflicts": 0, "classes": {}, "splits": {}, "version": None}
    assert status["dataset"] == nothing
    assert status["champion"] is status["challenger"] is status["drift"]["verdict"] is None
    assert (status["alerts"], status["review_queue"], status["services"]) == ([], 0, {})
    assert dict(in_words(status))["champion"] == "none yet; `visionloop run` makes one"


def test_the_dataset_is_counted_by_class_and_split(workspace):
    fill_tables(workspace)
    dataset = status_of(workspace)["dataset"]
    assert (dataset["images"], dataset["quarantined"], dataset["conflicts"]) == (4, 2, 1)
    assert dataset["classes"] == {"cat": 1, "dog": 2}
    assert dataset["splits"] == {"test": 1, "train": 2}
    assert len(dataset["version"]) == 12


def test_the_champion_is_told_with_its_metrics_engine_and_data(workspace, state):
    register(state, 1, 0.97, "promote")
    promote(state, 1, "1" * 64, 0, "training", {}, NOW)
    status = status_of(workspace)
    champion = status["champion"]
    assert (champion["version"], champion["digest"], champion["data_version"]) == (1, "1" * 64, "feed00000000")
    assert champion["metrics"] == {"top1": 0.97, "macro_f1": 0.9}
    assert champion["engine"] == {"target": "openvino", "precision": "int8", "speedup": 5.2}
    assert champion["promoted_at"] == "2026-11-22T10:00:00Z"
    assert status["challenger"] is None
    assert dict(in_words(status))["champion"].startswith("v1: top1 0.970, macro_f1 0.900 (openvino int8, 5.2x fp32)")


def test_a_model_that_was_refused_is_the_challenger_with_its_verdict(workspace, state):
    register(state, 1, 0.97, "promote")
    promote(state, 1, "1" * 64, 0, "training", {}, NOW)
    register(state, 2, 0.91, "reject")
    status = status_of(workspace)
    assert status["champion"]["version"] == 1
    assert (status["challenger"]["version"], status["challenger"]["verdict"]["decision"]) == (2, "reject")


def window(state, version: int, last: int, verdict: str, signals: list[dict[str, object]]) -> None:
    windows.record(state, version, last - 499, last, 500, verdict, signals, None, NOW)


def test_drift_is_that_of_the_champions_newest_window(workspace, state):
    drifted = [{"name": "brightness", "drifted": True}, {"name": "contrast", "drifted": False}]
    register(state, 1, 0.97, "promote")
    window(state, 1, 500, "ok", [])
    window(state, 1, 1000, "warn", drifted)
    assert status_of(workspace)["drift"] == {"verdict": None, "window": None, "signals": []}  # nobody serves
    promote(state, 1, "1" * 64, 0, "training", {}, NOW)
    status = status_of(workspace)
    assert (status["drift"]["verdict"], status["drift"]["signals"]) == ("warn", drifted)
    assert status["drift"]["window"]["last_prediction"] == 1000
    assert dict(in_words(status))["drift"] == "warn in the last 500 predictions: brightness"


def test_a_new_champion_is_not_judged_by_the_windows_of_the_old_one(workspace, state):
    for version in (1, 2):
        register(state, version, 0.97, "promote")
        window(state, version, 500, "alert", []) if version == 1 else None
        promote(state, version, f"{version}" * 64, version - 1, "training", {}, NOW)
    assert status_of(workspace)["drift"]["verdict"] == "insufficient"


def test_only_open_alerts_and_mail_that_waits_ask_for_attention(workspace, state):
    with state.begin() as connection:
        for number, name in enumerate(["open", "resolved"]):
            alert = {"kind": "drift", "key": name, "signals": ["brightness"], "detail": {}, "state": name, "at": NOW}
            connection.execute(alerts.insert().values(alert))
            mail = {"key": name, "message": "", "state": ["waiting", "dead"][number], "attempts": 0}
            connection.execute(outbox.insert().values(**mail, not_before=NOW, at=NOW))
    status = status_of(workspace)
    assert [(each["kind"], each["state"], each["signals"]) for each in status["alerts"]] == [
        ("drift", "open", ["brightness"])
    ]
    assert status["outbox"] == {"waiting": 1, "sent": 0, "dead": 1}


def test_reading_the_status_imports_no_model_and_no_server():
    heavy = "{'torch', 'mlflow', 'prefect', 'dvc', 'pandas', 'onnxruntime', 'openvino'}"
    code = f"import sys, flows.status; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
