"""Training learns, honours each of its params, and after `kill -9` ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.model.card import ModelCard, read_card
from components.model.learner import TrainError
from components.model.zoo import load_model
from components.tasks import USUAL
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES
from tests.training import IMAGE, TASK, equal, run, shapes


def test_training_learns_to_tell_shapes_apart(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(40, 10), report, epochs=6)
    assert max(report.values["val/top1"]) >= 0.8
    assert report.values["train/loss"][-1] < report.values["train/loss"][0]


def test_training_leaves_weights_a_card_and_metrics(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(), report)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "metrics.json",
        "model.json",
        "model.safetensors",
    ]
    card = read_card(tmp_path / "model" / "model.json")
    assert (card.arch, card.classes, card.size, card.mean) == ("resnet9", SHAPES, 16, IMAGE.mean)
    assert card.data_version == "0123456789ab"
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["val/loss"] == min(report.values["val/loss"])
    assert metrics["epochs"] == 3


def test_every_epoch_is_reported_at_once_and_a_picture_at_the_end(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(), report)
    for name in ("train/loss", "val/loss", "val/top1", "lr", "images_per_s"):
        assert len(report.values[name]) == 3
    assert report.pictures["history"].startswith(b"\x89PNG")


def test_the_same_call_gives_the_same_weights(tmp_path: Path):
    assert equal(run(tmp_path / "one", shapes()), run(tmp_path / "two", shapes()))
    assert not equal(run(tmp_path / "one", shapes()), run(tmp_path / "three", shapes(), seed=8))


def test_the_saved_model_answers_as_it_did_in_training(tmp_path: Path):
    images = shapes()
    run(tmp_path, images)
    val = images.of("val")
    with torch.inference_mode():
        logits = load_model(tmp_path / "model")(torch.from_numpy(val.pixels)).numpy()
    found = TASK.metrics(logits, TASK.targets(val, SHAPES), SHAPES, USUAL)["loss"]
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert found == pytest.approx(metrics["val/loss"], abs=1e-5)


CHILD = """
import os, signal, sys
from pathlib import Path
from components.report import Silent
from tests.training import run, shapes

class Killed(Silent):
    steps = 0
    def progress(self, done, total, what):
        Killed.steps += 1
        if Killed.steps == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

run(Path(sys.argv[1]), shapes(), Killed(), epochs=4, optimizer=sys.argv[3], ema=float(sys.argv[4]))
"""


def killed(folder: Path, step: int, optimizer: str, ema: float) -> None:
    """Train in another process that is killed after `step` batches."""
    command = [sys.executable, "-c", CHILD, str(folder), str(step), optimizer, str(ema)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (folder / "model").exists()


@pytest.mark.parametrize(("optimizer", "ema", "step"), [("adamw", 0.0, 8), ("sgd", 0.9, 4)])
def test_kill_9_and_the_same_call_again_end_with_the_same_bits(tmp_path: Path, optimizer: Any, ema: float, step: int):
    whole = run(tmp_path / "whole", shapes(), epochs=4, optimizer=optimizer, ema=ema)
    killed(tmp_path / "cut", step, optimizer, ema)
    report = ReportInMemory()
    resumed = run(tmp_path / "cut", shapes(), report, epochs=4, optimizer=optimizer, ema=ema)
    assert equal(whole, resumed)
    assert any("going on after epoch" in line for line in report.lines)
    assert len(report.values["val/loss"]) == 4  # epochs before the cut are told again


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_killed_again_and_again_it_still_ends_with_the_same_bits(tmp_path: Path, optimizer: Any):
    whole = run(tmp_path / "whole", shapes(), epochs=4, optimizer=optimizer, ema=0.9)
    for step in (1, 4, 5, 3, 2):  # batches since the last kill; an epoch has three
        killed(tmp_path / "cut", step, optimizer, 0.9)
    assert equal(whole, run(tmp_path / "cut", shapes(), epochs=4, optimizer=optimizer, ema=0.9))


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path, report: ReportInMemory):
    whole = run(tmp_path, shapes())
    newest = max((tmp_path / "checkpoints").rglob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert equal(whole, run(tmp_path, shapes(), report))
    assert any("going on after epoch 2" in line for line in report.lines)


def test_another_training_never_resumes_from_these_checkpoints(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes())
    run(tmp_path, shapes(), report, lr=0.002)
    assert not any("going on" in line for line in report.lines)
    run(tmp_path, shapes(13), report, lr=0.002)
    assert not any("going on" in line for line in report.lines)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_two_checkpoints_are_kept_and_neither_is_a_pickle(tmp_path: Path):
    run(tmp_path, shapes())
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    assert [path.name[:6] for path in sorted(files)] == ["00002-", "00003-"]
    assert all(path.suffix == ".safetensors" for path in files)


def test_training_starts_from_the_champion_and_adds_its_new_class(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(20, 5, SHAPES[:3]), epochs=6)
    start = tmp_path / "model"
    fresh = ReportInMemory()
    run(tmp_path / "fresh", shapes(), fresh, epochs=1)
    warm = run(tmp_path / "warm", shapes(), report, start=start, epochs=1)
    assert warm["head.weight"].shape[0] == 4
    assert any("1 new class" in line for line in report.lines)
    assert report.values["val/loss"][0] < fresh.values["val/loss"][0]


def test_a_champion_of_another_architecture_is_left_alone_and_said(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(), epochs=1)
    card = read_card(tmp_path / "model" / "model.json")
    ModelCard(**{**vars(card), "arch": "resnet18"}).write(tmp_path / "model" / "model.json")
    run(tmp_path / "next", shapes(), report, start=tmp_path / "model", epochs=1)
    assert any("not started from the champion, a resnet18" in line for line in report.lines)


def test_training_stops_when_the_val_loss_no_longer_falls(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(8, 3), report, epochs=30, lr=1e-9, warmup_epochs=0, patience=2)
    assert len(report.values["val/loss"]) < 30
    best = int(np.argmin(report.values["val/loss"]))
    assert len(report.values["val/loss"]) - 1 - best == 2


def test_the_epoch_with_the_lowest_val_loss_wins(tmp_path: Path, report: ReportInMemory):
    run(tmp_path, shapes(), report, epochs=5, lr=0.05, warmup_epochs=0)
    losses = report.values["val/loss"]
    assert report.values["best_epoch"] == [np.argmin(losses) + 1]


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_split_without_images_is_refused(tmp_path: Path, missing: str):
    images = shapes().of("val" if missing == "train" else "train")
    with pytest.raises(TrainError, match=f"No image is in {missing}"):
        run(tmp_path, images)


def test_a_class_that_only_val_shows_is_refused(tmp_path: Path):
    images = shapes(3, 1)
    labels = ["owl" if split == "val" else label for label, split in zip(images.labels, images.splits, strict=True)]
    with pytest.raises(TrainError, match="'owl'"):
        run(tmp_path, replace(images, labels=labels))


@pytest.mark.gpu
def test_training_on_a_gpu_learns(tmp_path: Path, report: ReportInMemory):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    run(tmp_path, shapes(40, 10), report, epochs=6, precision="auto")
    assert max(report.values["val/top1"]) >= 0.8
