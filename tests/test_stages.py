"""Promises of components.__main__: a stage runs by its name in a workspace, and fails with one clear message."""

from __future__ import annotations

import ast
import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

import components.__main__ as stages
from components.code_digest import PACKAGE, reached, stage_function
from components.data.ingest import ingest
from components.data.sources import open_source
from components.data.tables import SPLITS, TableError, read_table
from components.launcher.local import LocalLauncher
from components.params import Params
from components.report import Silent
from components.settings import load_settings
from components.versioning import data_version, ensure_dvc, reproduce, stale_stages, track
from components.workspace import STAGES, Workspace
from tests.drawing import draw_folder


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(workspace.root)
    return workspace


def _ingest(workspace: Workspace, params: Params, folder: Path) -> None:
    ingest(open_source(folder), workspace, params.ingest, LocalLauncher(1), Silent(), datetime(2026, 1, 1, tzinfo=UTC))
    ensure_dvc(workspace, load_settings(workspace))
    track(workspace)


def _fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def stage(*_: object) -> dict[str, int]:
        raise error

    monkeypatch.setattr(stages, "RUN", {"split": stage})


def test_new_images_are_validated_and_split_under_dvc_without_moving_the_old(
    here: Workspace, params: Params, tmp_path: Path
) -> None:
    _ingest(here, params, draw_folder(tmp_path / "first", 10))
    assert stages.run_stage("validate", here.root) == (
        "validate: 40 images, 4 classes, 0 quarantined, 0 in conflict, 0 warnings"
    )
    assert stages.run_stage("split", here.root) == "split: 28 train, 6 val, 6 test, 0 left_out"
    old = {row["image_id"]: row["split"] for row in read_table(here.splits, SPLITS).to_pylist()}
    version = data_version(here)

    _ingest(here, params, draw_folder(tmp_path / "second", 10, first=10))
    lines: list[str] = []
    assert [reproduce(here, stage, {}, lines.append).changed for stage in ("validate", "split")] == [True, True]
    assert lines[0] == "validate: 80 images, 4 classes, 0 quarantined, 0 in conflict, 0 warnings"
    assert json.loads((here.validation / "verdict.json").read_text())["grown_from"] == 40
    new = {row["image_id"]: row["split"] for row in read_table(here.splits, SPLITS).to_pylist()}
    assert len(new) == 80
    assert new.items() >= old.items()
    assert data_version(here) != version
    assert stale_stages(here) == ["train", "evaluate", "export", "compile"]


def test_data_that_fails_validation_stops_the_run_and_is_not_split(
    here: Workspace, params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ingest(here, params, draw_folder(tmp_path / "images", 2))
    assert stages.main(["validate"]) == 1
    message = capsys.readouterr().err
    assert "images: At least 20 images; found 8" in message
    assert str(here.validation / "report.html") in message
    assert (here.validation / "report.html").is_file()
    assert stages.main(["split"]) == 1
    assert "has not passed validation" in capsys.readouterr().err


def test_the_closing_line_tells_counts_and_measures(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN", {"train": lambda *_: {"images": 12345, "val/top1": 0.98765}})
    assert stages.run_stage("train", here.root) == "train: 12,345 images, val/top1 0.9877"


def test_an_unknown_stage_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["trian"]) == 2
    assert "validate|split|train|evaluate|export|compile" in capsys.readouterr().err


def test_outside_of_a_workspace_the_way_to_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stages.main(["train"]) == 1
    assert "visionloop init" in capsys.readouterr().err


def test_wrong_params_are_all_named(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    here.params.write_text(here.params.read_text().replace("epochs: 2", "epochs: no").replace("seed: 7", "sead: 7"))
    assert stages.main(["train"]) == 1
    message = capsys.readouterr().err
    assert "train.epochs" in message
    assert "split.sead" in message


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TableError("No manifest. Ingest first."), "split: No manifest. Ingest first.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "big.file"), "disk is full (big.file). Free some space"),
    ],
)
def test_what_a_user_can_mend_is_told_without_a_traceback(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail(monkeypatch, error)
    assert stages.main(["split"]) == 1
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message


@pytest.mark.usefixtures("here")
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _fail(monkeypatch, KeyError("surprise"))
    with pytest.raises(KeyError, match="surprise"):
        stages.main(["split"])


def test_news_goes_to_the_training_run_too_when_there_is_one(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.registry.tracking import end_run, start_run

    settings = load_settings(here)
    parent = start_run(settings, "training", {}, {})
    monkeypatch.setenv("VISIONLOOP_PARENT_RUN", parent)
    monkeypatch.setattr(stages, "RUN", {"train": _train_for_an_epoch})
    assert stages.main(["train"]) == 0
    end_run(settings, parent)
    assert capsys.readouterr().out == "epoch 1\ntrain: 1 epochs\n"
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow_uri)
    experiment = client.get_run(parent).info.experiment_id
    child = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")[0]
    assert (child.info.run_name, child.info.status, child.data.metrics) == ("train", "FINISHED", {"val/top1": 0.5})


def _train_for_an_epoch(*given: object) -> dict[str, int]:
    report = cast(stages.Report, given[-1])
    report.line("epoch 1")
    report.metrics({"val/top1": 0.5}, step=1)
    return {"epochs": 1}


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_counts_as_its_code(stage: str) -> None:
    imports = [node for node in ast.walk(stage_function(stage)) if isinstance(node, ast.ImportFrom)]
    paths = {PACKAGE.parent.joinpath(*(node.module or "").split(".")) for node in imports}
    found = reached(stage_function(stage))
    assert all({path.with_suffix(".py"), path / "__init__.py"} & found for path in paths), paths


def test_the_report_page_counts_as_code_of_validation() -> None:
    assert PACKAGE / "data" / "templates" / "validation.html" in reached(stage_function("validate"))
