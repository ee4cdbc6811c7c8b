"""One look at production: every prediction in one window, every cause told once, however often one looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine

from components.data.tables import LABELS, MANIFEST, STATISTICS, read_table
from components.monitoring import check as checks
from components.monitoring.check import MonitorResult, check
from components.params import Params, load_params
from components.registry.bundle import make_bundle
from components.settings import load_settings
from components.state import ledger, windows
from components.state.alerts import open_alerts
from components.state.database import open_predictions, open_state
from components.state.feedback import give
from components.state.outbox import counts
from components.state.predictions import Logged, record, since
from components.workspace import Workspace
from tests.brightness import images_are_split, stages_have_run

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SIZE = 200  # of a window: the least


def statistics(random: np.random.Generator, images: int, shift: dict[str, float]) -> dict[str, np.ndarray]:
    """Normal around 10 with sd 1, moved by `shift` standard deviations."""
    return {name: random.normal(10 + shift.get(name, 0.0), 1.0, images) for name in STATISTICS}


@dataclass
class Production:
    """A workspace with a champion, and the traffic that it gets."""

    workspace: Workspace
    params: Params
    state: Engine
    log: Engine
    version: int = 0
    requests: int = 0

    def promote(self, seed: int = 0, right: bool = True) -> None:
        """A new champion, promoted on the 240 known images; `right` is how its answers to them were noted."""
        random = np.random.default_rng(seed)
        manifest = read_table(self.workspace.manifest, MANIFEST)
        known = [row for row, split in enumerate(manifest["source_split"].to_pylist()) if split != "train"]
        labels = read_table(self.workspace.labels, LABELS)
        label_of = dict(zip(labels["image_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
        truth = np.array([label_of[image_id] for image_id in manifest["image_id"].take(known).to_pylist()])
        label = truth if right else np.where(truth == "light", "dark", "light")
        columns = {name: values.astype(np.float32) for name, values in statistics(random, len(known), {}).items()}
        columns |= {name: random.beta(8, 1, len(known)).astype(np.float32) for name in ("confidence", "margin")}
        words = {"image_id": manifest["image_id"].take(known), "truth": truth, "label": label}
        columns["score"] = (label == truth).astype(np.float64)
        self.version += 1
        digest = make_bundle(self.workspace, pa.table(words | columns | {"format": ["PNG"] * len(known)})).digest
        ledger.promote(self.state, self.version, digest, self.version - 1, "test", {}, NOW)

    def answer(self, images: int, shift: dict[str, float] | None = None, light: float = 0.5) -> None:
        """Log answers to `images` images, `light` of them called light."""
        random = np.random.default_rng([8, self.requests])
        found = statistics(random, images, shift or {})
        rows = []
        for row in range(images):
            self.requests += 1
            sure = float(random.beta(8, 1))
            rows.append(
                Logged(
                    request_id=f"r{self.requests}",
                    item=0,
                    image_id="0" * 64,
                    name=None,
                    model_version=self.version,
                    engine_digest="e" * 64,
                    label="light" if random.random() < light else "dark",
                    confidence=sure,
                    margin=float(random.beta(8, 1)),
                    probabilities={},
                    format="PNG",
                    statistics={name: float(values[row]) for name, values in found.items()},
                    at=NOW,
                )
            )
        record(self.log, rows)

    def look(self, now: datetime = NOW) -> MonitorResult:
        return check(self.workspace, self.params, self.state, self.log, now, {"Prefect run": "http://127.0.0.1/run"})

    def verdicts(self) -> list[str]:
        return [window.verdict for window in windows.of_model(self.state, self.version)]


@pytest.fixture
def production(tmp_path: Path) -> Production:
    workspace = images_are_split(tmp_path)
    stages_have_run(workspace, threshold=0.5)
    settings = load_settings(workspace)
    state, log = open_state(settings.database_url), open_predictions(settings.predictions_url)
    made = Production(workspace, load_params(workspace.params), state, log)
    made.promote()
    return made


def test_before_the_first_champion_there_is_nothing_to_watch(workspace: Workspace, params: Params) -> None:
    settings = load_settings(workspace)
    state, log = open_state(settings.database_url), open_predictions(settings.predictions_url)
    assert check(workspace, params, state, log, NOW, {}).lines == [
        "No champion serves yet, so there is nothing to watch."
    ]


def test_a_window_that_is_not_full_is_not_judged(production: Production) -> None:
    production.answer(SIZE - 1)
    found = production.look()
    assert (found.windows, found.alerts) == ([], [])
    assert found.lines[0] == "199 of 200 predictions for the next window of model v1."


def test_every_prediction_is_in_one_window_however_often_one_looks(production: Production) -> None:
    for images in (150, 300, 0, 260):
        production.answer(images)
        production.look()
        production.look()
    judged = windows.of_model(production.state, 1)
    assert [(each.first_prediction, each.last_prediction) for each in judged] == [(1, 200), (201, 400), (401, 600)]
    assert production.verdicts() == ["ok", "ok", "ok"]
    assert counts(production.state) == {"waiting": 0, "sent": 0, "dead": 0}


def test_drift_warns_first_then_alerts_once_and_is_settled_by_good_windows(production: Production) -> None:
    production.answer(SIZE)
    production.answer(2 * SIZE, shift={"brightness": -1.5})
    found = production.look()
    assert production.verdicts() == ["ok", "warn", "alert"]
    assert [(alert.kind, alert.signals[0], alert.model_version) for alert in found.alerts] == [
        ("drift", "brightness", 1)
    ]
    assert "brightness fell by 15%, 1.5 sd;" in " ".join(found.lines)
    evidence = production.workspace.state / str(found.windows[-1].report)
    assert "brightness" in evidence.read_text(encoding="utf-8")
    assert production.look().alerts == []
    assert counts(production.state)["waiting"] == 1
    production.answer(3 * SIZE)
    production.look()
    assert open_alerts(production.state) == []


def test_a_dim_camera_hides_no_new_class(production: Production) -> None:
    production.answer(2 * SIZE, shift={"brightness": -1.5})
    assert [alert.signals for alert in production.look().alerts] == [["brightness"]]
    production.answer(2 * SIZE, shift={"brightness": -1.5}, light=0.9)
    (second,) = production.look().alerts
    assert "predicted_class" in second.signals


def test_a_new_champion_starts_with_windows_and_a_reference_of_its_own(production: Production) -> None:
    production.answer(SIZE + 50)
    production.look()
    production.promote(seed=1)
    production.answer(SIZE)
    production.look()
    (window,) = windows.of_model(production.state, 2)
    assert (window.first_prediction, window.last_prediction, window.verdict) == (251, 450, "ok")


def test_a_kill_before_the_window_is_written_loses_and_doubles_nothing(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.answer(2 * SIZE, shift={"brightness": -1.5})
    write = windows.record

    def killed(*row: object) -> bool:
        if row[5] == "alert":
            raise KeyboardInterrupt
        return write(*row)  # type: ignore[arg-type]

    monkeypatch.setattr(checks.windows, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        production.look()
    monkeypatch.undo()
    production.look()
    assert production.verdicts() == ["warn", "alert"]
    assert [alert.kind for alert in open_alerts(production.state)] == ["drift"]
    assert counts(production.state)["waiting"] == 1


def test_a_silence_is_told_once(production: Production) -> None:
    production.answer(SIZE)
    production.look()
    hours = production.params.monitor.quiet_hours_without_requests
    later = NOW + timedelta(hours=hours + 1)
    assert [alert.kind for alert in production.look(later).alerts] == ["volume"]
    assert production.look(later + timedelta(days=1)).alerts == []


def test_a_champion_that_no_longer_answers_as_it_did_is_told_once(production: Production) -> None:
    assert "answers 100.0% as at promotion" in production.look().lines[-1]
    production.promote(right=False)
    assert [alert.kind for alert in production.look().alerts] == ["champion"]
    assert production.look(NOW + timedelta(days=2)).alerts == []


def test_labels_that_prove_the_model_worse_alert_though_nothing_drifted(production: Production) -> None:
    production.answer(SIZE, light=0.5)
    for row in since(production.log, 1, 0, 100):
        wrong = {"light": "dark", "dark": "light"}[row.label]
        give(production.state, row.request_id, 0, wrong, "somebody", "feedback", NOW)
    found = production.look()
    assert [(alert.kind, alert.signals) for alert in found.alerts] == [("accuracy", ["accuracy"])]
    assert production.verdicts() == ["ok"]


def test_looking_again_with_nothing_new_takes_no_time(production: Production) -> None:
    production.answer(SIZE)
    production.look()
    began = time.process_time()
    production.look()
    assert time.process_time() - began < 1.0
