"""The loop as a user runs it: real processes, real DVC, Prefect and MLflow, small pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.workspace import STAGES, Workspace, create_workspace
from flows.processes import free_port
from tests.conftest import SMALL, change_params
from tests.drawing import draw_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COMMAND = [str(Path(sys.executable).parent / "visionloop")]


def visionloop(workspace: Workspace, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `workspace` and return what it printed."""
    return subprocess.run(
        [*COMMAND, "--workspace", str(workspace.root), *words],
        capture_output=True,
        text=True,
        env=dict(os.environ) | environments(environment),
        check=False,
        timeout=600,
    )


def environments(more: dict[str, str]) -> dict[str, str]:
    return {"VISIONLOOP_PREFECT_PORT": str(free_port()), **more}


def new_workspace(folder: Path) -> Workspace:
    """A workspace with 4 classes of 60 drawn pictures, ingested."""
    workspace = create_workspace(folder / "workspace")
    change_params(workspace, **SMALL)
    change_params(workspace, train={"epochs": 6}, evaluate={"beat_baselines": False})
    ingested = visionloop(workspace, "ingest", str(draw_folder(folder / "photos", per_class=60)))
    assert ingested.stdout.strip().endswith("240 added, 0 already known, 0 quarantined, 0 in conflict"), ingested
    return workspace


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return new_workspace(tmp_path_factory.mktemp("ingested"))


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(workspace.root, folder / "workspace")))


@pytest.fixture(scope="module")
def trained(ingested: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copy_of(ingested, tmp_path_factory.mktemp("trained"))
    ran = visionloop(workspace, "run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return workspace


def status(workspace: Workspace) -> dict[str, object]:
    found: dict[str, object] = json.loads(visionloop(workspace, "status", "--json").stdout)
    return found


def test_a_folder_of_images_becomes_a_champion(trained):
    found = status(trained)
    assert found["dataset"]["images"] == 240
    assert found["champion"]["version"] == 1
    assert found["champion"]["metrics"]["top1"] > 0.5


def test_a_run_with_nothing_changed_says_so_quickly_and_starts_no_server(trained):
    began = time.monotonic()
    again = visionloop(trained, "run")
    assert "Nothing changed" in again.stdout
    assert "Flow run" not in again.stdout + again.stderr
    assert time.monotonic() - began < 60  # 15 s are promised of a quiet machine; the benchmark prints them


def test_a_prediction_of_the_champion_is_written_with_its_version(trained, tmp_path):
    photos = draw_folder(tmp_path / "new", per_class=2, first=500)
    scored = visionloop(trained, "predict", str(photos), "--output", str(tmp_path / "out.json"))
    assert scored.returncode == 0, scored.stderr
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == 8
    assert {row["model_version"] for row in rows} == {1}


def test_two_runs_at_once_are_told_apart(trained):
    change_params(trained, train={"epochs": 7})
    command = [*COMMAND, "--workspace", str(trained.root), "stage", "train"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(3)
    second = visionloop(trained, "stage", "train")
    first.wait(timeout=300)
    change_params(trained, train={"epochs": 6})
    assert second.returncode == 1
    assert "in use" in second.stderr


def test_a_tracking_server_that_is_away_is_named(trained):
    change_params(trained, train={"epochs": 5})
    away = f"http://127.0.0.1:{free_port()}"
    failed = visionloop(trained, "run", MLFLOW_TRACKING_URI=away)
    change_params(trained, train={"epochs": 6})
    assert failed.returncode == 1
    assert away in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_kill_9_in_a_stage_and_running_again_ends_with_a_champion(stage, ingested, tmp_path):
    workspace = copy_of(ingested, tmp_path)
    run = subprocess.Popen(
        [*COMMAND, "--workspace", str(workspace.root), "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ) | environments({}),
    )
    kill_family(run, wait_for_stage(run, stage))
    again = visionloop(workspace, "run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert status(workspace)["champion"]["version"] == 1


def wait_for_stage(run: subprocess.Popen[bytes], stage: str) -> list[psutil.Process]:
    """The processes of `run` as soon as one of them works on `stage`."""
    while run.poll() is None:
        family = psutil.Process(run.pid).children(recursive=True)
        for each in family:
            try:
                if each.cmdline()[-3:] == ["-m", "components", stage]:
                    time.sleep(1.5)
                    return family
            except psutil.Error:
                continue
        time.sleep(0.05)
    raise AssertionError(f"the run ended (exit {run.returncode}) without working on {stage}")


def kill_family(run: subprocess.Popen[bytes], family: list[psutil.Process]) -> None:
    for each in (run, *family):
        try:
            os.kill(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.wait()
