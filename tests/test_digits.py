"""The demo's pictures: honest pools, repeatable photographs."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from flows.digits import POOLS, SIDE, photograph, pools, write_folder


def test_no_source_image_is_in_two_pools():
    found = pools(seed=7)
    everything = np.concatenate(list(found.values()))
    assert {name: len(numbers) for name, numbers in found.items()} == POOLS
    assert len(set(everything.tolist())) == len(everything) == 1797


def test_every_digit_is_as_frequent_in_each_pool_as_in_all():
    labels = load_digits().target
    whole = np.bincount(labels) / len(labels)
    for numbers in pools(seed=7).values():
        assert np.abs(np.bincount(labels[numbers], minlength=10) / len(numbers) - whole).max() < 0.01


def test_the_same_seed_takes_the_same_photographs():
    assert photograph([3, 4, 5], 2, changed=True, seed=1) == photograph([3, 4, 5], 2, changed=True, seed=1)


def test_every_take_is_another_picture():
    photos = photograph([3, 4, 5], 4, changed=False, seed=1)
    assert len({photo.png for photo in photos}) == len(photos) == 12


def test_the_changed_camera_sees_dark_ink_on_lighter_paper():
    good, changed = (_corner(photograph([0], 1, changed, seed=1)[0].png) for changed in (False, True))
    assert good < 60 < changed


def test_photographs_become_a_folder_per_label(tmp_path):
    photos = photograph(range(20), 1, changed=False, seed=1)
    folder = write_folder(photos, tmp_path)
    assert sorted(path.parent.name for path in folder.rglob("*.png")) == sorted(photo.label for photo in photos)


def _corner(png: bytes) -> float:
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (SIDE, SIDE)
        return float(np.asarray(image)[:3, :3].mean())
