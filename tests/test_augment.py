"""Augmentation varies training batches within its params, the same way for the same generator, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from components.model.augment import for_evaluation, for_training
from components.model.chance import Chance
from components.params import AugmentParams
from components.tasks import TargetKind
from tests.drawing import draw
from tests.training import NO_AUGMENT

OFF = NO_AUGMENT
ALL = replace(
    OFF,
    shift=0.1,
    flip=True,
    flip_vertical=True,
    rotate=10,
    scale=0.1,
    crop=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=20,
    blur=0.5,
    erase=0.5,
)


def batch(count: int = 64, size: int = 16) -> torch.Tensor:
    import numpy as np

    images = np.stack([np.array(draw("triangle", seed, size)) for seed in range(count)])
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def seeded(images: int, seed: int = 1, mine: slice = slice(None)) -> Chance:
    return Chance(torch.Generator().manual_seed(seed), images, mine)


def varied_by(images: torch.Tensor, params: AugmentParams, seed: int = 1) -> torch.Tensor:
    return for_training(images, torch.zeros(len(images)), "classes", params, seeded(len(images), seed))[0]


def test_everything_off_leaves_images_as_they_are():
    assert torch.equal(varied_by(batch(), OFF), batch().float())


def test_evaluation_leaves_images_as_they_are():
    assert torch.equal(for_evaluation(batch()), batch().float())


def test_the_same_generator_gives_the_same_batch():
    once, again, other = (varied_by(batch(), ALL, seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_training_images_keep_shape_type_and_range():
    varied = varied_by(batch(), ALL)
    assert (varied.shape, varied.dtype) == (batch().shape, torch.float32)
    assert varied.min() >= 0
    assert varied.max() <= 255.001


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = batch()
    varied = varied_by(images, replace(OFF, flip=True))
    same = [torch.allclose(new, old, atol=0.01) for new, old in zip(varied, images.float(), strict=True)]
    mirrored = [torch.allclose(new, old.flip(-1), atol=0.01) for new, old in zip(varied, images.float(), strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_shift_moves_by_whole_pixels_each_way_and_mirrors_at_the_edge():
    images = batch(200)
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate")
    padded[:, :, :, 0], padded[:, :, :, -1] = padded[:, :, :, 3].clone(), padded[:, :, :, -4].clone()
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 3].clone(), padded[:, :, -4].clone()
    varied = varied_by(images, replace(OFF, shift=0.125))  # 2 of 16 px
    places = set()
    for new, old in zip(varied, padded, strict=True):
        crops = {(y, x): old[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)}
        places.update(place for place, crop in crops.items() if torch.allclose(new, crop, atol=0.01))
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_rotate_turns_about_the_middle():
    images = torch.zeros(32, 3, 17, 17, dtype=torch.uint8)
    images[:, :, 8, :] = 255
    varied = varied_by(images, replace(OFF, rotate=90))
    assert torch.allclose(varied[:, :, 8, 8], torch.tensor(255.0), atol=0.5)
    assert varied[:, :, 8, 15].std() > 50


def test_scale_zooms_in_and_out():
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    images[:, :, 4:12, 4:12] = 255
    areas = varied_by(images, replace(OFF, scale=0.25)).mean(dim=(1, 2, 3)) / 255 * 256
    assert areas.min() < 64 < areas.max()
    assert areas.min() > 64 * 0.75**2 * 0.9
    assert areas.max() < 64 * 1.25**2 * 1.1


def test_brightness_multiplies_and_contrast_spreads():
    images = batch()
    before = images.float().mean(dim=(1, 2, 3))
    brighter = varied_by(images, replace(OFF, brightness=0.2)).mean(dim=(1, 2, 3)) / before
    assert 0.79 < brighter.min() < 0.9
    assert 1.1 < brighter.max() < 1.21
    spread = varied_by(images, replace(OFF, contrast=0.2)).std(dim=(1, 2, 3)) / images.float().std(dim=(1, 2, 3))
    assert 0.79 < spread.min() < 0.9
    assert 1.05 < spread.max() < 1.21


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_erase_blanks_a_rectangle_in_its_share_of_the_images(chance: float):
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(400, 3, 1, 1)
    varied = varied_by(images, replace(OFF, erase=chance))
    blank = ((varied - images.float()).abs() > 0.01).any(dim=1).float().mean(dim=(1, 2))
    assert (blank > 0).float().mean() == pytest.approx(chance, abs=0.08)
    assert blank.max() < 0.25


def test_crop_shows_a_part_that_fills_the_square():
    ramp = torch.arange(16.0)[None, None, None, :].expand(200, 3, 16, 16).contiguous().byte()
    varied = varied_by(ramp, replace(OFF, crop=0.25))
    steps = (varied[:, 0, 8, 12] - varied[:, 0, 8, 4]) / 8  # px of the original for one of the result
    assert 0.4 < steps.min() < 0.6
    assert 0.9 < steps.max() <= 1.001
    assert varied.max() <= 15  # no crop reaches beyond the image
    assert varied.std(dim=0).min() > 1


def test_flip_vertical_turns_about_half_of_the_images_upside_down():
    images = batch()
    varied = varied_by(images, replace(OFF, flip_vertical=True))
    upside = [torch.allclose(new, old.flip(-2), atol=0.01) for new, old in zip(varied, images.float(), strict=True)]
    assert 16 <= sum(upside) <= 48


def test_hue_and_saturation_leave_grey_and_brightness_alone():
    colours = replace(OFF, hue=90, saturation=0.5)
    grey = torch.full((8, 3, 4, 4), 99, dtype=torch.uint8)
    assert torch.allclose(varied_by(grey, colours), grey.float(), atol=0.01)
    images = (batch() * 0.2 + 100).byte()  # far from 0 and 255, where values are cut off
    varied = varied_by(images, colours)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert torch.allclose((varied * weights).sum(1), (images * weights).sum(1), atol=0.05)
    assert (varied - images).abs().mean() > 1


def test_blur_softens_its_share_of_the_images_and_keeps_their_mean():
    images = batch(200)
    varied = varied_by(images, replace(OFF, blur=0.5))
    changed = (varied - images.float()).abs().amax(dim=(1, 2, 3)) > 0.5
    assert 60 < changed.sum() < 140
    assert (varied[changed].std(dim=(1, 2, 3)) < images[changed].float().std(dim=(1, 2, 3))).all()
    assert torch.allclose(torch.full((1, 3, 9, 9), 7.0), varied_by(torch.full((1, 3, 9, 9), 7).byte(), ALL), atol=2)


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_a_policy_varies_each_image_in_its_own_way_and_leaves_torchs_chance_alone(policy: str):
    before = torch.random.get_rng_state()
    same = batch(1).repeat(12, 1, 1, 1)
    varied = varied_by(same, replace(OFF, policy=policy))
    assert torch.equal(varied, varied_by(same, replace(OFF, policy=policy)))
    assert len({image.numpy().tobytes() for image in varied}) > 6
    assert torch.equal(before, torch.random.get_rng_state())


def test_two_processes_together_vary_a_batch_as_one_does():
    whole = varied_by(batch(10), ALL)
    parts = []
    for mine in (slice(0, 5), slice(5, 10)):
        parts.append(for_training(batch(10)[mine], torch.zeros(5), "classes", ALL, seeded(10, mine=mine))[0])
    assert torch.allclose(torch.cat(parts), whole, atol=1e-3)


SIDE = 64
PLACES = {  # what moves, of which both boxes and areas can be told afterwards
    "shift": {"shift": 0.2},
    "flips": {"flip": True, "flip_vertical": True},
    "rotate": {"rotate": 90},
    "scale": {"scale": 0.3},
    "crop": {"crop": 0.4},
    "mosaic": {"mosaic": 1.0},
    "all": {"shift": 0.1, "flip": True, "rotate": 20, "scale": 0.2, "crop": 0.6, "mosaic": 0.5},
}


def blocks(count: int = 40, size: int = SIDE) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of a white block on black, its box among two empty slots, and its area (class 1 on class 0)."""
    draw = torch.Generator().manual_seed(3)
    images, boxes = torch.zeros(count, 3, size, size, dtype=torch.uint8), torch.zeros(count, 3, 7)
    boxes[..., 4] = -1
    for row in range(count):
        left, top, wide, high = (
            int(torch.randint(low, top, (1,), generator=draw)) for low, top in [(8, 40)] * 2 + [(10, 20)] * 2
        )
        images[row, :, top : top + high, left : left + wide] = 255
        boxes[row, 1] = torch.tensor([left / size, top / size, (left + wide) / size, (top + high) / size, 2, 0, 99])
    return images, boxes, (images[:, 0] > 0).byte()


def extent(shown: torch.Tensor) -> list[float]:
    """left, top, right, bottom of what is true in (S, S), in shares."""
    down, across = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    return [float(edge) / len(shown) for edge in (across[0], down[0], across[-1] + 1, down[-1] + 1)]


@pytest.mark.parametrize("changes", PLACES.values(), ids=PLACES)
def test_boxes_follow_their_images(changes: dict[str, float]):
    images, boxes, _ = blocks()
    moved, after = for_training(images, boxes, "boxes", replace(OFF, **changes), seeded(len(images)))
    assert after.shape[-1] == 7
    there = after[..., 4] >= 0
    assert 30 <= there.sum() <= 170
    assert set(after[there][:, 4:6].unique().tolist()) == {2.0, 0.0}
    assert ((after[there][:, :4] >= 0) & (after[there][:, :4] <= 1)).all()
    for image, slots in zip(moved, after, strict=True):
        [*found] = slots[slots[:, 4] >= 0]
        if len(found) == 1 and "mosaic" not in changes:  # its box is as large as what is white
            tolerance = 0.25 if changes.get("rotate") == 20 else 0.04
            assert found[0][:4].tolist() == pytest.approx(extent(image[0] > 100), abs=tolerance)
        for left, top, right, bottom in (slot[:4] * SIDE for slot in found):
            inside = image[0, int(top.round()) : int(bottom.round()), int(left.round()) : int(right.round())]
            assert inside.mean() > 100


@pytest.mark.parametrize("changes", PLACES.values(), ids=PLACES)
def test_areas_follow_their_images_and_nothing_is_known_of_what_came_in(changes: dict[str, float]):
    images, _, areas = blocks()
    moved, after = for_training(images, areas, "pixels", replace(OFF, **changes), seeded(len(images)))
    assert (after.dtype, after.shape) == (torch.uint8, areas.shape)
    assert set(after.unique().tolist()) <= {0, 1, 255}
    known = after != 255
    agree = ((moved[:, 0] > 128) == (after == 1))[known].float().mean()
    assert agree > 0.99
    mirrored = moved[:, 0][~known] > 100  # what came in has the mean colour; at its edge pixels are shared
    assert mirrored.sum() <= 0.01 * len(mirrored)


def test_objects_that_leave_the_image_lose_their_box():
    images, boxes, _ = blocks(400)
    _, after = for_training(images, boxes, "boxes", replace(OFF, shift=0.6), seeded(400))
    there = after[..., 4] >= 0
    assert 100 < there.sum() < 350
    sides = after[there][:, 2:4] - after[there][:, :2]
    assert (sides * SIDE >= 1).all()
    assert (after[~there][:, :4] == 0).all()


@pytest.mark.parametrize("kind", ["boxes", "pixels"])
def test_with_everything_off_places_stay_to_the_bit(kind: TargetKind):
    images, boxes, areas = blocks(4)
    targets = boxes if kind == "boxes" else areas
    same, after = for_training(images, targets, kind, OFF, seeded(4))
    assert torch.equal(after, targets)
    assert torch.equal(same, images.float())


def test_a_mosaic_shows_objects_of_several_images():
    images, boxes, _ = blocks()
    _, after = for_training(images, boxes, "boxes", replace(OFF, mosaic=1.0), seeded(len(images)))
    each = (after[..., 4] >= 0).sum(dim=1)
    assert each.max() >= 3
    assert each.float().mean() > 1.2
    assert after.shape[1] == each.max()


@pytest.mark.parametrize("changes", [{"flip": True, "flip_vertical": True}, {"crop": 0.3, "flip": True}], ids=str)
def test_crops_and_flips_alone_are_the_same_moves_in_bytes(changes: dict[str, float]):
    """As those of the way that can also turn, which a turn by a hair takes."""
    smooth = torch.nn.functional.avg_pool2d(batch(50, 32).float(), 5, 1, 2).byte()
    targets = torch.zeros(50, 1, 7)
    targets[:, 0] = torch.tensor([0.2, 0.3, 0.7, 0.8, 1, 0, 1])
    quick, some = for_training(smooth, targets, "boxes", replace(OFF, **changes), seeded(50))
    slow, same = for_training(smooth, targets, "boxes", replace(OFF, rotate=1e-4, **changes), seeded(50))
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # beyond the edges only the slow way looks
    assert (quick[inside] - slow[inside]).abs().max() < 1.01
    assert torch.allclose(some, same, atol=1e-4)
