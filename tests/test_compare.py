"""`compare` trains nets under one budget and tells how good, how fast and how large each became, also in MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.model.zoo import ZooError
from components.settings import load_settings
from components.workspace import Workspace, WorkspaceError
from flows.comparing import compare
from tests.conftest import change_params
from tests.prepared import prepare


@pytest.fixture
def prepared(workspace: Workspace, tmp_path: Path) -> Workspace:
    return prepare(workspace, tmp_path / "shapes", 40)


def test_without_splits_it_says_what_to_do(workspace):
    with pytest.raises(WorkspaceError, match="visionloop stage split"):
        compare(workspace, load_settings(workspace), ["resnet9"])


def test_names_and_sizes_are_checked_before_any_training(prepared):
    with pytest.raises(ZooError, match="resnet8"):
        compare(prepared, load_settings(prepared), ["resnet9", "resnet8"])
    change_params(prepared, image={"size": 8})
    with pytest.raises(ZooError, match=r"squeezenet1_1 cannot take images of 8 px"):
        compare(prepared, load_settings(prepared), ["lenet5", "squeezenet1_1"])


@pytest.mark.slow
def test_each_net_becomes_a_row_and_a_child_run(prepared):
    settings = load_settings(prepared)
    rows = compare(prepared, settings, ["lenet5", "resnet9"], epochs=2)
    assert {row["arch"] for row in rows} == {"lenet5", "resnet9"}
    assert rows[0]["top1"] >= rows[1]["top1"]
    for row in rows:
        assert row["low"] <= row["top1"] <= row["high"]
        assert row["seconds"] > 0
        assert row["latency_ms"] > 0
    assert {row["parameters_m"] for row in rows} == {0.06, 0.65}
    client = MlflowClient(settings.mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("visionloop").experiment_id])
    [parent] = [run for run in runs if run.info.run_name == "compare lenet5 resnet9"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {"lenet5", "resnet9"}
    assert all(run.data.metrics["latency_ms"] > 0 for run in children)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not (prepared.state / "compare").exists()


@pytest.mark.slow
def test_a_budget_of_seconds_gives_the_faster_net_more_epochs(prepared):
    rows = {row["arch"]: row for row in compare(prepared, load_settings(prepared), ["lenet5", "resnet9"], seconds=3)}
    assert rows["lenet5"]["epochs"] > rows["resnet9"]["epochs"] >= 1
    assert sum(float(row["seconds"]) for row in rows.values()) < 20
