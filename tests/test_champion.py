"""The service follows the ledger: new champions are loaded, broken ones refused once, and the old one serves on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from components.registry.bundle import Bundle
from components.serving.champion import Champion
from components.serving.metrics import Metrics
from components.settings import load_settings
from components.state.database import open_state
from components.workspace import Workspace
from tests.bundles import promote, tiny_bundle


@pytest.fixture
def state(workspace: Workspace) -> Iterator[Engine]:
    state = open_state(load_settings(workspace).database_url)
    yield state
    state.dispose()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def champion(workspace: Workspace, state: Engine, metrics: Metrics) -> Champion:
    return Champion(state, workspace.models, max_batch=4, metrics=metrics)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"visionloop_{name}", labels)


def flip_a_byte(bundle: Bundle) -> None:
    weights = bundle.path / "engine" / "model.bin"
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])


def lose_a_file(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").unlink()


def lose_everything(bundle: Bundle) -> None:
    shutil.rmtree(bundle.path)


def test_without_a_promotion_there_is_no_champion(champion: Champion) -> None:
    champion.follow()
    assert champion.current is None
    assert "visionloop run" in champion.trouble


def test_each_promotion_is_followed(champion: Champion, workspace: Workspace, metrics: Metrics) -> None:
    first, second = tiny_bundle(workspace, 0.6), tiny_bundle(workspace, 0.8)
    for version, bundle in ((1, first), (2, second), (1, first)):  # the last one is a rollback
        promote(workspace, version, bundle.digest)
        champion.follow()
        assert champion.current
        assert (champion.current.version, champion.current.digest) == (version, bundle.digest)
    labels = {"digest": first.digest, "target": "openvino", "precision": "fp32"}
    assert value(metrics, "model_info", version="1", **labels) == 1
    assert value(metrics, "model_info", version="2", **labels | {"digest": second.digest}) is None


def test_a_champion_that_is_decided_again_is_not_loaded_again(champion: Champion, workspace: Workspace) -> None:
    bundle = tiny_bundle(workspace)
    promote(workspace, 1, bundle.digest)
    champion.follow()
    loaded = champion.current
    promote(workspace, 1, bundle.digest)
    champion.follow()
    assert champion.current is loaded


@pytest.mark.parametrize("spoil", [flip_a_byte, lose_a_file, lose_everything])
def test_a_corrupt_candidate_is_refused_once_and_the_old_model_serves_on(
    champion: Champion,
    workspace: Workspace,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Bundle], None],
) -> None:
    good, bad = tiny_bundle(workspace, 0.6), tiny_bundle(workspace, 0.8)
    promote(workspace, 1, good.digest)
    champion.follow()
    serving = champion.current
    spoil(bad)
    promote(workspace, 2, bad.digest)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            champion.follow()
    assert champion.current is serving
    assert value(metrics, "swap_failures_total") == 1
    assert [record.message for record in caplog.records if "Model 2" in record.message and "refused" in record.message]
    assert len(caplog.records) == 1
    promote(workspace, 3, tiny_bundle(workspace, 0.7).digest)
    champion.follow()
    assert champion.current
    assert champion.current.version == 3


def test_a_first_champion_that_is_corrupt_is_named_as_the_trouble(champion: Champion, workspace: Workspace) -> None:
    bundle = tiny_bundle(workspace)
    lose_everything(bundle)
    promote(workspace, 7, bundle.digest)
    champion.follow()
    assert champion.current is None
    assert "Model 7" in champion.trouble
    assert "visionloop rollback" in champion.trouble


def test_a_ledger_that_cannot_be_read_changes_nothing_and_is_told_once(
    champion: Champion, workspace: Workspace, state: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    promote(workspace, 1, tiny_bundle(workspace).digest)
    champion.follow()
    serving = champion.current
    with state.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE promotions RENAME TO away")
    for _ in range(3):
        champion.follow()
    assert champion.current is serving
    assert [record.message[:26] for record in caplog.records] == ["The ledger cannot be read,"]
