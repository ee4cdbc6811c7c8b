"""A learner honours what params.yaml says of an epoch: freezing, class weights, precision, average, divergence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.data.dataset import ImageSet
from components.model.learner import TrainError, class_weights
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES
from tests.training import PARAMS, equal, run, shapes


def test_balanced_class_weights_are_the_inverse_of_how_often_a_class_occurs():
    counts = np.array([6, 2, 4])
    assert class_weights(counts, 12, replace(PARAMS, class_weights="none")).tolist() == [1, 1, 1]
    assert class_weights(counts, 12, replace(PARAMS, class_weights="balanced")).tolist() == pytest.approx([2 / 3, 2, 1])


def test_class_weights_change_what_is_learnt(tmp_path: Path):
    images = shapes(20, 5, SHAPES[:2])
    rare = images.of("train").ids[3:20]
    kept = [row for row, name in enumerate(images.ids) if name not in rare]
    columns = (images.ids, images.labels, images.splits)
    few = ImageSet(
        *([column[row] for row in kept] for column in columns), images.pixels[kept], images.sizes[: len(kept)]
    )
    plain, balanced = (run(tmp_path / kind, few, class_weights=kind) for kind in ("none", "balanced"))
    assert not equal(plain, balanced)


def test_a_frozen_body_rests_while_the_head_learns(tmp_path: Path):
    start = run(tmp_path / "first", shapes(), epochs=1)
    weights = str(tmp_path / "first" / "model" / "model.safetensors")
    frozen = run(tmp_path / "frozen", shapes(), weights=weights, epochs=2, freeze_epochs=2)
    assert [name for name in start if not torch.equal(start[name], frozen[name])] == ["head.bias", "head.weight"]
    thawed = run(tmp_path / "thawed", shapes(), weights=weights, epochs=2, freeze_epochs=1)
    assert not equal(start, thawed)
    [_, last] = sorted((tmp_path / "thawed" / "checkpoints").rglob("*.safetensors"))
    assert not torch.equal(load_file(last)["model/net.stem.0.weight"], start["stem.0.weight"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_learn(tmp_path: Path, report: ReportInMemory, precision: Any):
    run(tmp_path, shapes(10, 4), report, precision=precision, epochs=3)
    assert report.values["train/loss"][-1] < report.values["train/loss"][0]


def test_a_training_that_blows_up_says_to_lower_the_rate(tmp_path: Path):
    with pytest.raises(TrainError, match=r"Lower `train\.lr` from 1e\+30"):
        run(tmp_path, shapes(), optimizer="sgd", lr=1e30, warmup_epochs=0)


def test_with_an_average_its_weights_are_the_ones_kept(tmp_path: Path):
    plain = run(tmp_path / "plain", shapes(), ema=0.0, epochs=1)
    averaged = run(tmp_path / "averaged", shapes(), ema=0.9, epochs=1)
    assert not equal(plain, averaged)
