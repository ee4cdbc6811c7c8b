"""Evaluation says how good a model is, shows where it errs, and refuses one that a baseline matches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.data.dataset import ImageSet
from components.model.card import ModelCard
from components.model.evaluate import EvaluateError, evaluate
from components.model.zoo import build
from components.params import EvaluateParams
from components.tasks import TaskError
from components.tasks.baselines import linear, majority
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES
from tests.training import IMAGE, shapes

PARAMS = EvaluateParams(topk=2, calibration_bins=15, mistakes=6, beat_baselines=True)


def examples(train: int = 6, test: int = 4) -> ImageSet:
    images = shapes(train, test)
    return replace(images, splits=["test" if split == "val" else split for split in images.splits])


def model_in(folder: Path, classes: tuple[str, ...] = SHAPES, always: int | None = None) -> Path:
    """An untrained model; with `always` it answers that class for every image."""
    torch.manual_seed(1)
    net = build("classifier", "resnet9", len(classes), "none")
    if always is not None:
        torch.nn.init.zeros_(net.head.weight)
        net.head.bias.data[always] += 5.0
    folder.mkdir(parents=True)
    save_file(net.state_dict(), folder / "model.safetensors")
    card = ModelCard("classification", "resnet9", classes, 16, "stretch", IMAGE.mean, IMAGE.std, "0123456789ab")
    card.write(folder / "model.json")
    return folder


def test_metrics_tables_and_pictures_are_written_and_reported(tmp_path: Path, report: ReportInMemory):
    found = evaluate(
        examples(), model_in(tmp_path / "model"), tmp_path / "out", replace(PARAMS, beat_baselines=False), report
    )
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == found
    assert {"top1", "top2", "macro_f1", "mean_class_accuracy", "ece", "loss", "baseline_majority"} <= written.keys()
    assert {name: values[0] for name, values in report.values.items()} == found
    rows = json.loads((tmp_path / "out" / "per_class.json").read_text())
    assert [(row["class"], row["images"]) for row in rows] == [(name, 4) for name in SHAPES]
    for name in ("confusion", "mistakes"):
        assert report.pictures[name] == (tmp_path / "out" / f"{name}.png").read_bytes()


def test_the_same_model_gives_the_same_files(tmp_path: Path, report: ReportInMemory):
    model, params = model_in(tmp_path / "model"), replace(PARAMS, beat_baselines=False)
    for name in ("one", "two"):
        evaluate(examples(), model, tmp_path / name, params, report)
    for file in ("metrics.json", "per_class.json", "confusion.png", "mistakes.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_model_that_always_says_one_class_is_refused_but_can_be_looked_at(tmp_path: Path, report: ReportInMemory):
    model = model_in(tmp_path / "model", always=2)
    with pytest.raises(EvaluateError, match=r"top1 is 0\.250, no better than baseline_.*beat_baselines: false"):
        evaluate(examples(), model, tmp_path / "out", PARAMS, report)
    assert (tmp_path / "out" / "confusion.png").is_file()


def test_a_test_image_of_a_class_the_model_lacks_is_named(tmp_path: Path, report: ReportInMemory):
    model = model_in(tmp_path / "model", classes=SHAPES[:3])
    with pytest.raises(TaskError, match="'triangle'"):
        evaluate(examples(), model, tmp_path / "out", PARAMS, report)


def test_without_test_images_it_says_what_to_do(tmp_path: Path, report: ReportInMemory):
    with pytest.raises(EvaluateError, match="No image is in test"):
        evaluate(examples().of("train"), model_in(tmp_path / "model"), tmp_path / "out", PARAMS, report)


def test_the_majority_baseline_answers_the_largest_class():
    assert majority(np.eye(4, dtype=np.float32)[[0, 2, 2, 1]], 3).argmax(axis=1).tolist() == [2, 2, 2]


def test_the_linear_baseline_tells_colours_apart():
    random = np.random.default_rng(1)
    targets = np.arange(60) % 3
    pixels = random.integers(0, 120, (60, 3, 32, 32), dtype=np.uint8)
    pixels[np.arange(60), targets] += 100
    answers = linear(pixels[:30], np.eye(3, dtype=np.float32)[targets[:30]], pixels[30:])
    assert (answers.argmax(axis=1) == targets[30:]).mean() == 1.0


@pytest.mark.parametrize("size", [8, 30, 96])
def test_the_linear_baseline_takes_any_size(size: int):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 3, size, size), dtype=np.uint8)
    assert linear(pixels, np.eye(2, dtype=np.float32)[[0, 1] * 3], pixels).shape == (6, 2)
