"""Promises of components.data.duplicates, on drawn pictures and on hashes made up to be hard."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from components.data.duplicates import groups
from components.data.scan import scan_image
from components.params import Params, load_params
from components.workspace import TEMPLATE
from tests.drawing import draw, encode

PARAMS = load_params(TEMPLATE / "params.yaml").split


def _table(ids: list[str], hashes: list[int], thumbnails: list[bytes]) -> pa.Table:
    return pa.table(
        {
            "image_id": ids,
            "phash": pa.array(hashes, pa.uint64()),
            "thumbnail": pa.array(thumbnails, pa.binary(256)),
        }
    )


def _grey(level: int) -> bytes:
    return bytes([level]) * 256


def test_a_picture_saved_again_darkened_or_made_smaller_is_a_near_duplicate_and_others_are_not(params: Params) -> None:
    one = draw("circle", 1, 128)
    pictures = {
        "a original": encode(one),
        "b as jpeg": encode(one, "JPEG", quality=80),
        "c a bit darker": encode(ImageEnhance.Brightness(one).enhance(0.95)),
        "d smaller": encode(one.resize((96, 96), Image.Resampling.LANCZOS)),
        "e another circle": encode(draw("circle", 2, 128)),
        "f a cross": encode(draw("cross", 1, 128)),
    }
    scans = [scan_image(data, params.ingest) for data in pictures.values()]
    found = groups(_table(list(pictures), [s.phash for s in scans], [s.thumbnail for s in scans]), params.split)
    assert found.names == ["a original"] * 4 + ["e another circle", "f a cross"]
    assert found.grouped().tolist() == [True] * 4 + [False] * 2


def test_equal_hashes_of_unlike_pictures_are_no_pair() -> None:
    found = groups(_table(["a", "b", "c"], [5, 5, 5], [_grey(10), _grey(60), _grey(65)]), PARAMS)
    assert found.names == ["a", "b", "b"]


def test_the_order_of_the_rows_does_not_matter() -> None:
    random = np.random.default_rng(1)
    ids = [f"{number:04d}" for number in range(300)]
    hashes = random.integers(0, 2**6, 300).astype(np.uint64) << np.uint64(20)
    levels = random.integers(0, 120, 300).tolist()
    table = _table(ids, hashes.tolist(), [_grey(level) for level in levels])
    mixed = random.permutation(300)
    straight, other = groups(table, PARAMS), groups(table.take(pa.array(mixed)), PARAMS)
    assert other.names == [straight.names[row] for row in mixed]
    assert len(set(straight.names)) < 200


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 63), max_size=3), st.integers(0, 40)), max_size=25), st.integers(0, 8))
def test_groups_are_those_of_comparing_every_image_with_every_other(
    images: list[tuple[set[int], int]], bits: int
) -> None:
    hashes = [sum(1 << bit for bit in flipped) for flipped, _ in images]
    params = dataclasses.replace(PARAMS, near_duplicate_bits=bits)
    ids = [f"{number:02d}" for number in range(len(images))]
    expected = list(range(len(images)))
    for one, (_, level) in enumerate(images):
        for other, (_, level_of_other) in enumerate(images):
            if (hashes[one] ^ hashes[other]).bit_count() <= bits and abs(level - level_of_other) / 255 <= 0.04:
                low, high = sorted((expected[one], expected[other]))
                expected = [low if each == high else each for each in expected]
    found = groups(_table(ids, hashes, [_grey(level) for _, level in images]), params)
    assert found.names == [ids[first] for first in expected]


@pytest.mark.parametrize("largest", [1, 2, 50])
def test_a_crowd_of_like_pictures_is_cut_to_groups_of_the_largest_size_and_counted(largest: int) -> None:
    table = _table([f"{number:04d}" for number in range(500)], [9] * 500, [_grey(number % 5) for number in range(500)])
    found = groups(table, dataclasses.replace(PARAMS, max_group=largest))
    _, sizes = np.unique(found.names, return_counts=True)
    assert sizes.max() == largest
    assert found.cut == 500


def test_when_a_group_is_cut_the_most_alike_stay_together() -> None:
    table = _table(["a", "b", "c", "d"], [9] * 4, [_grey(10), _grey(18), _grey(19), _grey(11)])
    assert groups(table, dataclasses.replace(PARAMS, max_group=2)).names == ["a", "b", "b", "a"]


def test_60000_pictures_are_grouped_in_seconds_also_when_many_hashes_are_equal() -> None:
    random = np.random.default_rng(2)
    count = 60_000
    hashes = random.integers(0, 2**63, count, dtype=np.uint64)
    hashes[:3000] = 1
    thumbnails = random.integers(0, 256, (count, 256), dtype=np.uint8)
    hashes[-100:], thumbnails[-100:] = hashes[-200:-100] ^ np.uint64(0b1111), thumbnails[-200:-100]
    table = _table([f"{n:05d}" for n in range(count)], hashes.tolist(), [each.tobytes() for each in thumbnails])
    began = time.process_time()
    found = groups(table, PARAMS)
    assert time.process_time() - began < 15
    assert found.names[-100:] == [f"{n:05d}" for n in range(count - 200, count - 100)]
    assert found.grouped().sum() == 200


def test_no_images_are_no_groups() -> None:
    assert groups(_table([], [], []), PARAMS).names == []
