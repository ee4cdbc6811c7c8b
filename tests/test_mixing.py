"""MixUp and CutMix mix labels by as much as images, and nothing when they are off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from components.model.chance import Chance
from components.model.mixing import mixed
from tests.training import NO_AUGMENT


def by(params: dict[str, float], targets: torch.Tensor | None = None, count: int = 200) -> Any:
    """`count` images of which number i is grey of level i, each a class of its own; mixed."""
    images = torch.arange(count).view(-1, 1, 1, 1).expand(count, 3, 8, 8).float().contiguous()
    targets = torch.arange(count) if targets is None else targets
    chance = Chance(torch.Generator().manual_seed(1), count)
    return mixed(images, targets, count, replace(NO_AUGMENT, **params), chance)


def test_with_both_off_images_and_targets_stay_as_they_are():
    images, targets = by({})
    assert targets.dtype == torch.int64
    assert images[:, 0, 0, 0].tolist() == list(range(200))


@pytest.mark.parametrize("params", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str)
def test_a_label_counts_as_much_as_its_image_shows(params: dict[str, float]):
    images, targets = by(params)
    assert (targets.dtype, targets.shape) == (torch.float32, (200, 200))
    assert targets.sum(dim=1) == pytest.approx(1)
    levels = torch.arange(200).float()
    assert torch.allclose(images.mean(dim=(1, 2, 3)), targets @ levels, atol=0.01)
    assert ((targets > 0).sum(dim=1) <= 2).all()
    own = targets.diagonal()
    assert 0.3 < own.mean() < 0.7
    assert own.std() > 0.1


def test_mixup_blends_and_cutmix_cuts():
    blended, cut = by({"mixup": 1.0})[0], by({"cutmix": 1.0})[0]
    assert blended.std(dim=(1, 2, 3)) == pytest.approx(0, abs=1e-3)
    assert max(len(image.unique()) for image in cut) == 2
    hole = (cut[5, 0] == 4).nonzero()
    assert len(hole) in {side**2 for side in range(9)}


def test_a_small_shape_mixes_little():
    own = by({"mixup": 0.1})[1].diagonal()
    assert (torch.minimum(own, 1 - own)).mean() < 0.1


def test_labels_of_several_classes_an_image_are_mixed_too():
    both = torch.ones(4, 2)
    both[1:3, 0] = 0
    _, targets = by({"mixup": 1.0}, both, 4)
    assert targets[:, 1].tolist() == [1, 1, 1, 1]
    assert targets[0].tolist() == [1, 1]
    assert targets[2, 0] == 0
    assert 0 < targets[1, 0] < 1
