"""Every task goes the whole way: its files in, a promoted engine out, and answers in the terms of the task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.workspace import create_workspace
from tests.conftest import change_params
from tests.scenes import scene, write_coco, write_masks, write_table
from tests.test_loop import visionloop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
QUICK: dict[str, Any] = {
    "image": {"size": 96},
    "train": {"epochs": 25, "batch_size": 16, "precision": "fp32", "lr": 0.003, "warmup_epochs": 1, "ema": 0.0},
    "export": {"parity_images": 16},
    "compile": {"calibration_images": 32},
    "evaluate": {"beat_baselines": False},
    "validate": {"max_low_entropy_share": 1.0},
}
TASKS = {
    "multilabel": (write_table, "resnet9", {"map_multilabel": 0.8, "macro_f1": 0.5}),
    "detection": (write_coco, "fcos_resnet18", {"map50": 0.5, "map": 0.2}),
    "segmentation": (write_masks, "fpn_resnet18", {"miou": 0.4, "pixel_accuracy": 0.8, "dice": 0.4}),
}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_task_goes_from_its_files_to_a_champion_that_answers(task: str, tmp_path: Path) -> None:
    write: Callable[[Path, range], Path]
    write, arch, least = TASKS[task]
    workspace = create_workspace(tmp_path / "workspace", task)
    change_params(workspace, **QUICK)
    change_params(workspace, train={"arch": arch})
    ingested = visionloop(workspace, "ingest", str(write(tmp_path / "source", range(200))))
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    assert "0 quarantined, 0 in conflict" in ingested.stdout
    ran = visionloop(workspace, "run")
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    metrics = json.loads(visionloop(workspace, "status", "--json").stdout)["champion"]["metrics"]
    assert {name: metrics[name] for name in least if metrics[name] < least[name]} == {}
    _answers(task, workspace, tmp_path)


def _answers(task: str, workspace: Any, folder: Path) -> None:
    new = folder / "new"
    new.mkdir()
    for seed in range(500, 504):
        scene(seed).image.save(new / f"{seed}.png")
    words = ("predict", str(new), "--output", str(folder / "out.json"), "--draw", str(folder / "drawn"))
    scored = visionloop(workspace, *words)
    assert scored.returncode == 0, scored.stdout + scored.stderr
    rows = json.loads((folder / "out.json").read_text())
    assert [row["error"] for row in rows] == [None] * 4
    assert len(list((folder / "drawn").glob("*.png"))) == 4
    answers = [json.loads(row["answer"]) for row in rows if row["answer"]]
    fits = {
        "multilabel": lambda answer: set(answer) <= {"circle", "square"},
        "detection": lambda answer: all(each["label"] in {"circle", "square"} for each in answer),
        "segmentation": lambda answer: answer["size"] == [96, 96],
    }
    assert all(map(fits[task], answers))
