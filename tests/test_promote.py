"""Promotion: the better model serves, the way back is open, and no crash leaves half a decision.

The models are those of tests/brightness.py: they call an image light above a threshold, and the truth is 0.5.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Connection, Engine, insert, select

from components.data.tables import MANIFEST, STATISTICS, read_table
from components.launcher.local import LocalLauncher
from components.params import load_params
from components.registry import tracking
from components.registry.bundle import BundleError, open_bundle
from components.registry.promote import NoSuchModel, Outcome, promote_candidate, replay_effects, rollback
from components.registry.tracking import TrackingError
from components.report import Silent
from components.settings import Settings, load_settings
from components.state import ledger
from components.state.database import open_state, outbox, reading
from components.tasks import USUAL, task_named
from components.workspace import Workspace
from tests.brightness import NOON, TEST_IMAGES, VAL_IMAGES, images_are_split, stages_have_run
from tests.bundles import CLASSES, promote, tiny_bundle
from tests.conftest import change_params


@pytest.fixture(scope="module")
def with_images(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return images_are_split(tmp_path_factory.mktemp("images"))


@pytest.fixture
def workspace(with_images: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(with_images.root, tmp_path / "workspace")))


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    tracking.connect(Settings().model_copy(update={"mlflow_uri": uri}))
    return uri


@pytest.fixture
def settings(workspace: Workspace, mlflow_uri: str) -> Settings:
    return load_settings(workspace).model_copy(update={"mlflow_uri": mlflow_uri})


@pytest.fixture
def state(settings: Settings) -> Engine:
    return open_state(settings.database_url)


def candidate(workspace: Workspace, settings: Settings, threshold: float) -> Outcome:
    """Make a model with `threshold` and let the gate decide on it."""
    stages_have_run(workspace, threshold)
    return decide(workspace, settings)


def decide(workspace: Workspace, settings: Settings) -> Outcome:
    run_id = tracking.start_run(settings, "training", {}, {})
    return promote_candidate(
        workspace,
        settings,
        load_params(workspace.params),
        open_state(settings.database_url),
        run_id=run_id,
        launcher=LocalLauncher(1),
        report=Silent(),
        actor="test",
        now=NOON,
    )


def outbox_mail(connection: Connection, decision: ledger.Promotion) -> None:
    mail = {"key": f"promotion {decision.id}", "message": "", "state": "waiting", "attempts": 0}
    connection.execute(insert(outbox).values(**mail, not_before=NOON, at=NOON))


def mails(state: Engine) -> list[str]:
    with reading(state) as connection:
        return list(connection.scalars(select(outbox.c.key)))


def test_the_first_model_serves_and_everybody_is_told(workspace: Workspace, settings: Settings, state: Engine):
    outcome = candidate(workspace, settings, threshold=0.6)
    champion = ledger.champion(state)
    assert outcome.promoted
    assert champion is not None
    assert (champion.version, champion.actor, champion.at) == (outcome.version, "test", NOON)
    assert open_bundle(workspace.models, champion.digest).card.classes == CLASSES
    assert tracking.aliases(settings) == {"champion": outcome.version}
    assert ledger.unannounced(state) == []
    assert outcome.lines == [
        f"Model v{outcome.version} is the new champion.",
        "There is no champion yet. top1 is 0.9000 on 200 test images.",
    ]


def test_what_is_known_of_a_judged_model_is_measured_on_the_engine_that_serves(
    workspace: Workspace, settings: Settings, state: Engine
):
    version = candidate(workspace, settings, threshold=0.6).version
    model = ledger.model(state, version)
    assert model is not None
    assert model.metrics["top1"] == pytest.approx(0.9)
    assert 0 < model.metrics["latency_p50_ms"] <= model.metrics["latency_p99_ms"]
    assert 0 < model.metrics["size_mb"] < 1
    assert (model.engine["target"], model.engine["precision"], model.engine["speedup"]) == ("openvino", "fp32", 1.0)


def test_a_better_challenger_takes_over_and_an_equal_one_does_not(
    workspace: Workspace, settings: Settings, state: Engine
):
    first = candidate(workspace, settings, threshold=0.6)
    equal = candidate(workspace, settings, threshold=0.601)
    assert (equal.promoted, equal.verdict.decision, equal.verdict.difference) == (False, "not_enough_evidence", 0)
    assert tracking.aliases(settings) == {"champion": first.version, "challenger": equal.version}
    better = candidate(workspace, settings, threshold=0.5)
    assert (better.promoted, better.verdict.difference) == (True, pytest.approx(0.1))
    assert tracking.aliases(settings) == {"champion": better.version}
    assert [row.version for row in ledger.history(state)] == [first.version, better.version]


def test_a_worse_challenger_is_rejected_and_remembered(workspace: Workspace, settings: Settings, state: Engine):
    candidate(workspace, settings, threshold=0.5)
    worse = candidate(workspace, settings, threshold=0.7)
    model = ledger.newest_model(state)
    assert model is not None
    assert worse.verdict.decision == "reject"
    assert (model.version, model.verdict) == (worse.version, worse.verdict.as_dict())


def test_the_same_model_again_changes_nothing(workspace: Workspace, settings: Settings, state: Engine):
    first = candidate(workspace, settings, threshold=0.6)
    again = decide(workspace, settings)
    assert (again.version, again.promoted) == (first.version, False)
    assert again.verdict.reasons == ["It is the champion already."]
    assert len(ledger.history(state)) == 1
    assert len(list(workspace.models.iterdir())) == 1


def test_a_model_that_was_rolled_back_from_does_not_come_back_by_itself(
    workspace: Workspace, settings: Settings, state: Engine
):
    candidate(workspace, settings, threshold=0.6)
    better = candidate(workspace, settings, threshold=0.5)
    rollback(workspace, state, None, "operator", NOON)
    again = decide(workspace, settings)
    assert (again.version, again.promoted) == (better.version, False)
    assert again.verdict.reasons == [
        f"A rollback took it out of service; `visionloop rollback {better.version}` puts it back."
    ]


def test_a_users_kpi_is_a_gate(workspace: Workspace, settings: Settings, state: Engine):
    change_params(workspace, promote={"kpis": {"macro_f1": 0.95}})
    outcome = candidate(workspace, settings, threshold=0.6)
    assert outcome.verdict.decision == "reject"
    assert "promote.kpis.macro_f1 asks for 0.95 at least." in outcome.verdict.reasons[-1]
    assert ledger.champion(state) is None


def test_another_metric_than_the_tasks_own_is_judged_by_resampling(workspace: Workspace, settings: Settings):
    change_params(workspace, promote={"metric": "macro_f1"})
    candidate(workspace, settings, threshold=0.6)
    better = candidate(workspace, settings, threshold=0.5)
    assert (better.promoted, better.verdict.metric) == (True, "macro_f1")


def test_the_drift_reference_holds_what_the_engine_answers_to_validation_and_test_images(
    workspace: Workspace, settings: Settings, state: Engine
):
    candidate(workspace, settings, threshold=0.6)
    champion = ledger.champion(state)
    assert champion is not None
    table = pq.read_table(workspace.models / champion.digest / "reference.parquet")
    rows = table.to_pylist()
    assert len(rows) == VAL_IMAGES + TEST_IMAGES
    assert all((row["label"] == "light") == (row["brightness"] > 0.6) for row in rows)
    assert sum(row["label"] != row["truth"] for row in rows) == 4 + 20
    assert all(row["confidence"] == pytest.approx(max(row["probabilities"])) for row in rows)
    known = read_table(workspace.manifest, MANIFEST).select(["image_id", *STATISTICS]).to_pylist()
    measured = {row["image_id"]: row for row in known}
    assert all(row[name] == measured[row["image_id"]][name] for row in rows for name in STATISTICS)


KILLED = """
import os, signal, sys
from tests.test_promote import *
workspace = Workspace(Path(sys.argv[1]))
settings = load_settings(workspace).model_copy(update={"mlflow_uri": sys.argv[2]})
state = open_state(settings.database_url)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def write_mail_and_die(connection, decision):
    outbox_mail(connection, decision)
    die()
"""


def killed(workspace: Workspace, settings: Settings, code: str) -> None:
    """Run `code` in a process of its own, which kills itself."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED + code, str(workspace.root), settings.mlflow_uri]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["die()", "replay_effects(settings, state, NOON, write_mail_and_die)"])
def test_effects_follow_exactly_once_after_a_kill(workspace: Workspace, settings: Settings, state: Engine, moment: str):
    change_params(workspace, promote={"kpis": {"top1": 0.99}})
    refused = candidate(workspace, settings, threshold=0.6)  # registered, so that MLflow knows the version
    model = ledger.newest_model(state)
    assert model is not None
    tracking.set_alias(settings, None, "champion")
    row = f"ledger.promote(state, {model.version}, {model.digest!r}, 0, 'test', {{}}, NOON)\n"
    killed(workspace, settings, row + moment)
    assert [row.version for row in ledger.unannounced(state)] == [refused.version]
    replay_effects(settings, state, NOON, outbox_mail)
    assert replay_effects(settings, state, NOON, outbox_mail) == []
    assert tracking.aliases(settings) == {"champion": refused.version}
    assert mails(state) == ["promotion 1"]


def test_a_decision_stands_while_mlflow_is_away_and_is_announced_when_it_is_back(
    workspace: Workspace, settings: Settings, state: Engine, tmp_path: Path
):
    first = candidate(workspace, settings, threshold=0.6)
    second = candidate(workspace, settings, threshold=0.5)
    rollback(workspace, state, None, "operator", NOON)
    (tmp_path / "no folder").write_text("")
    away = settings.model_copy(update={"mlflow_uri": f"sqlite:///{tmp_path}/no folder/mlflow.db"})
    with pytest.raises(TrackingError):
        replay_effects(away, state, NOON, outbox_mail)
    assert mails(state) == []
    assert tracking.aliases(settings)["champion"] == second.version
    replay_effects(settings, state, NOON, outbox_mail)
    assert mails(state) == ["promotion 3"]
    assert tracking.aliases(settings) == {"champion": first.version, "challenger": second.version}


def test_a_rollback_leads_to_the_model_before_or_to_a_named_one(workspace: Workspace, state: Engine):
    for version in (1, 2, 3):
        promote(workspace, version, tiny_bundle(workspace, confidence=version / 4).digest)
    assert rollback(workspace, state, None, "operator", NOON).version == 2
    assert rollback(workspace, state, 3, "operator", NOON).version == 3
    assert [row.action for row in ledger.history(state)] == ["promote"] * 3 + ["rollback"] * 2


def test_a_rollback_to_a_model_that_never_served_names_those_that_did(workspace: Workspace, state: Engine):
    with pytest.raises(NoSuchModel, match="no champion yet"):
        rollback(workspace, state, None, "operator", NOON)
    promote(workspace, 1, tiny_bundle(workspace, confidence=0.6).digest)
    with pytest.raises(NoSuchModel, match=r"The champion is v1\. No model served before it; .* none"):
        rollback(workspace, state, None, "operator", NOON)
    promote(workspace, 2, tiny_bundle(workspace, confidence=0.7).digest)
    with pytest.raises(NoSuchModel, match=r"champion is v2\. v7 is not .* choose from: v1"):
        rollback(workspace, state, 7, "operator", NOON)


def test_a_damaged_bundle_never_comes_back(workspace: Workspace, state: Engine):
    first = tiny_bundle(workspace, confidence=0.6)
    for version, bundle in ((1, first), (2, tiny_bundle(workspace, confidence=0.7))):
        promote(workspace, version, bundle.digest)
    (first.path / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        rollback(workspace, state, 1, "operator", NOON)
    assert ledger.history(state)[-1].version == 2


def test_an_image_of_a_class_that_a_model_does_not_know_is_one_that_it_gets_wrong():
    task, classes = task_named("classification"), ("cat", "dog", "fox")
    logits = np.array([[2, -1], [-3, -2]], dtype=np.float32)
    wide, targets = task.widen(logits, ("cat", "fox"), classes), np.array([0, 1])
    assert wide[:, [0, 2]].tolist() == logits.tolist()
    assert task.scores(wide, targets, classes).tolist() == [1, 0]
    assert [each.label for each in task.decode(wide, classes)] == ["cat", "fox"]
    assert np.isfinite(list(task.metrics(wide, targets, classes, USUAL).values())).all()
