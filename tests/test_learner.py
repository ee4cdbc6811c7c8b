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
from components.model import classifiers
from components.model.fitting import new_learner
from components.model.learner import TrainError, class_weights
from components.model.zoo import build
from components.params import Thaw
from tests.conftest import ReportInMemory
from tests.drawing import SHAPES
from tests.training import AUGMENT, IMAGE, NO_AUGMENT, PARAMS, TASK, equal, run, shapes


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


def moved_between(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """First words of the names of weights that differ."""
    return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}


def test_in_stages_the_last_blocks_learn_and_those_beyond_rest(tmp_path: Path):
    run(tmp_path / "first", shapes(), epochs=1)
    weights = str(tmp_path / "first" / "model" / "model.safetensors")
    start = load_file(weights)
    stages = {0: (), 1: (Thaw(epoch=2, blocks=1, rate=0.1),), 2: (Thaw(epoch=1, blocks=2, rate=0.1),)}
    moved = [
        moved_between(start, run(tmp_path / str(number), shapes(), weights=weights, epochs=2, unfreeze=stage))
        for number, stage in stages.items()
    ]
    assert moved[0] == {"stem", "stage1", "stage2", "stage3", "head"}
    assert moved[1] <= {"stage3", "head"}
    assert moved[2] == {"stage3", "head"}


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those of the last epoch, whichever was kept."""
    found = load_file(max((folder / "checkpoints").rglob("*.safetensors")))
    return {name: value for name, value in found.items() if name.startswith("model/")}


def test_accumulated_batches_move_the_weights_as_one_large_batch_does(tmp_path: Path):
    images, same = shapes(), {"arch": "lenet5", "epochs": 2, "augment": NO_AUGMENT, "optimizer": "sgd"}
    run(tmp_path / "large", images, batch_size=24, accumulate=1, **same)
    run(tmp_path / "small", images, batch_size=6, accumulate=4, **same)
    run(tmp_path / "other", images, batch_size=6, accumulate=1, **same)
    large, small, other = (last_weights(tmp_path / name) for name in ("large", "small", "other"))
    assert max(float((large[name] - small[name]).abs().max()) for name in large) < 1e-5
    assert max(float((large[name] - other[name]).abs().max()) for name in large) > 1e-3


def test_a_clipped_gradient_moves_the_weights_no_further_than_it_says(tmp_path: Path):
    still = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 0, "lr": 1.0}
    for clip_norm in (1e-3, 1e-6):
        run(tmp_path / str(clip_norm), shapes(), clip_norm=clip_norm, schedule="step", **still)
    far, near = (last_weights(tmp_path / str(clip_norm)) for clip_norm in (1e-3, 1e-6))
    steps = 3
    weights = [name for name in far if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    apart = sum(float((far[name] - near[name]).square().sum()) for name in weights) ** 0.5
    assert 0 < apart <= steps * (1e-3 + 1e-6)


@pytest.mark.parametrize("sampler", ["balanced", "oversample", "undersample"])
def test_a_sampler_changes_what_is_learnt(tmp_path: Path, sampler: Any):
    images = shapes(8, 2)
    rare = [row for row, name in enumerate(images.ids) if name.startswith(f"train/{SHAPES[0]}") and row % 8]
    kept = [row for row in range(len(images)) if row not in rare]
    columns = ([column[row] for row in kept] for column in (images.ids, images.labels, images.splits))
    few = ImageSet(*columns, images.pixels[kept], images.sizes[: len(kept)])
    assert not equal(run(tmp_path / "plain", few, epochs=1), run(tmp_path / sampler, few, epochs=1, sampler=sampler))


def test_dropout_goes_where_the_net_has_it_and_says_where_it_has_none(tmp_path: Path, report: ReportInMemory):
    run(tmp_path / "none", shapes(), report, epochs=1, dropout=0.3)
    assert any("train.dropout does nothing, resnet9" in line for line in report.lines)
    plain, dropped = (
        run(tmp_path / str(share), shapes(), arch="lenet5", epochs=1, dropout=share) for share in (0, 0.9)
    )
    assert not equal(plain, dropped)


@pytest.mark.parametrize(("mix", "loss"), [({"mixup": 0.2}, "auto"), ({"cutmix": 1.0}, "focal")])
def test_mixed_images_are_learnt_from(tmp_path: Path, report: ReportInMemory, mix: dict[str, float], loss: Any):
    run(tmp_path, shapes(40, 10), report, augment=replace(AUGMENT, **mix), epochs=6, loss=loss, lr=0.006)
    assert max(report.values["val/top1"]) >= 0.6  # a quarter by chance


def test_images_that_pretrained_weights_were_not_made_for_are_told(
    tmp_path: Path, report: ReportInMemory, monkeypatch: pytest.MonkeyPatch
):
    net = build("classifier", "squeezenet1_1", 4, "none")
    monkeypatch.setattr(classifiers, "default_weights", lambda _: net.state_dict())
    images, image = shapes(size=32), replace(IMAGE, size=32)
    new_learner(images, tmp_path, replace(PARAMS, arch="squeezenet1_1", weights="default"), image, TASK, report)
    assert any(
        "made for images of size 224 px, here 32 px; mean [0.485, 0.456, 0.406]" in line for line in report.lines
    )
