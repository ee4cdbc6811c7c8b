"""Augmentation varies training batches within its params, the same way for the same generator, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from components.model.augment import for_evaluation, for_training
from components.params import AugmentParams
from tests.drawing import draw

OFF = AugmentParams(shift=0, flip=False, rotate=0, scale=0, brightness=0, contrast=0, erase=0)
ALL = AugmentParams(shift=0.1, flip=True, rotate=10, scale=0.1, brightness=0.2, contrast=0.2, erase=0.5)


def batch(count: int = 64, size: int = 16) -> torch.Tensor:
    import numpy as np

    images = np.stack([np.array(draw("triangle", seed, size)) for seed in range(count)])
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_everything_off_leaves_images_as_they_are():
    assert torch.equal(for_training(batch(), OFF, seeded()), batch().float())


def test_evaluation_leaves_images_as_they_are():
    assert torch.equal(for_evaluation(batch()), batch().float())


def test_the_same_generator_gives_the_same_batch():
    once, again, other = (for_training(batch(), ALL, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_training_images_keep_shape_type_and_range():
    varied = for_training(batch(), ALL, seeded())
    assert (varied.shape, varied.dtype) == (batch().shape, torch.float32)
    assert varied.min() >= 0
    assert varied.max() <= 255.001


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = batch()
    varied = for_training(images, replace(OFF, flip=True), seeded())
    same = [torch.allclose(new, old, atol=0.01) for new, old in zip(varied, images.float(), strict=True)]
    mirrored = [torch.allclose(new, old.flip(-1), atol=0.01) for new, old in zip(varied, images.float(), strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_shift_moves_by_whole_pixels_each_way_and_mirrors_at_the_edge():
    images = batch(200)
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate")
    padded[:, :, :, 0], padded[:, :, :, -1] = padded[:, :, :, 3].clone(), padded[:, :, :, -4].clone()
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 3].clone(), padded[:, :, -4].clone()
    varied = for_training(images, replace(OFF, shift=0.125), seeded())  # 2 of 16 px
    places = set()
    for new, old in zip(varied, padded, strict=True):
        crops = {(y, x): old[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)}
        places.update(place for place, crop in crops.items() if torch.allclose(new, crop, atol=0.01))
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_rotate_turns_about_the_middle():
    images = torch.zeros(32, 3, 17, 17, dtype=torch.uint8)
    images[:, :, 8, :] = 255
    varied = for_training(images, replace(OFF, rotate=90), seeded())
    assert torch.allclose(varied[:, :, 8, 8], torch.tensor(255.0), atol=0.5)
    assert varied[:, :, 8, 15].std() > 50


def test_scale_zooms_in_and_out():
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    images[:, :, 4:12, 4:12] = 255
    areas = for_training(images, replace(OFF, scale=0.25), seeded()).mean(dim=(1, 2, 3)) / 255 * 256
    assert areas.min() < 64 < areas.max()
    assert areas.min() > 64 * 0.75**2 * 0.9
    assert areas.max() < 64 * 1.25**2 * 1.1


def test_brightness_multiplies_and_contrast_spreads():
    images = batch()
    before = images.float().mean(dim=(1, 2, 3))
    brighter = for_training(images, replace(OFF, brightness=0.2), seeded()).mean(dim=(1, 2, 3)) / before
    assert 0.79 < brighter.min() < 0.9
    assert 1.1 < brighter.max() < 1.21
    spread = for_training(images, replace(OFF, contrast=0.2), seeded()).std(dim=(1, 2, 3)) / images.float().std(
        dim=(1, 2, 3)
    )
    assert 0.79 < spread.min() < 0.9
    assert 1.05 < spread.max() < 1.21


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_erase_blanks_a_rectangle_in_its_share_of_the_images(chance: float):
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(400, 3, 1, 1)
    varied = for_training(images, replace(OFF, erase=chance), seeded())
    blank = ((varied - images.float()).abs() > 0.01).any(dim=1).float().mean(dim=(1, 2))
    assert (blank > 0).float().mean() == pytest.approx(chance, abs=0.08)
    assert blank.max() < 0.25
