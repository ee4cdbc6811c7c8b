"""Polygons and run lengths of annotation files become masks, or a reason why not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.data.annotations import Box, LabelError, Thing, mask_of, run_lengths
from components.data.outlines import areas_of, box_of, drawn, repeated

SIZE = (20, 10)  # width and height
SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
BOW_TIE = [2, 2, 8, 8, 8, 2, 2, 8]
TOUCHING = [0, 0, 4, 4, 8, 0, 8, 8, 4, 4, 0, 8]


def area(runs: str) -> int:
    return int(mask_of(runs, SIZE).sum())


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_polygon_is_filled():
    assert np.array_equal(mask_of(drawn([SQUARE], SIZE), SIZE), rectangle(2, 2, 8, 8))


def test_several_polygons_are_one_object():
    assert area(drawn([SQUARE, [10, 2, 14, 2, 14, 6, 10, 6]], SIZE)) == 36 + 16


def test_a_polygon_may_touch_itself_and_reach_the_edge():
    assert area(drawn([TOUCHING], SIZE)) > 0
    assert area(drawn([[-1, -1, 21, -1, 21, 11, -1, 11]], SIZE)) == 200


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        (BOW_TIE, r"crosses itself at \[5 5\]"),
        ([1, 1, 2, 2], "2 corner"),
        ([1, 1, 2, 2, 3], "expected x, y, x, y"),
        ("text", "expected x, y, x, y"),
        ([1, 1, math.nan, 2, 3, 3], "no number"),
        ([1, 1, 5, 5, 9, 9], "crosses itself|without area"),
        ([1, 1, 50, 1, 50, 5], "leaves its image of 20 x 10 px"),
        ([-9, 1, 5, 1, 5, 5], "leaves its image"),
    ],
)
def test_a_polygon_that_cannot_be_is_refused(polygon, said):
    with pytest.raises(LabelError, match=f"bad_polygon: .*({said})"):
        drawn([SQUARE, polygon], SIZE)


def test_no_polygon_is_refused():
    with pytest.raises(LabelError, match="found no polygon"):
        drawn([], SIZE)


def test_run_lengths_are_taken_as_text_and_as_a_list():
    mask = rectangle(2, 2, 8, 8)
    counts = [22, *[6, 4] * 5, 6, 122]
    assert repeated({"size": [10, 20], "counts": counts}, SIZE) == run_lengths(mask)
    assert repeated({"size": [10, 20], "counts": run_lengths(mask)}, SIZE) == run_lengths(mask)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"size": [20, 10], "counts": [200]}, r"mask of size \[20, 10\], expected \[height, width\] = \[10, 20\]"),
        ({"size": [10, 20], "counts": [199]}, "do not add up to 20 x 10"),
        ({"size": [10, 20], "counts": [-1, 201]}, "do not add up"),
        ({"size": [10, 20], "counts": "oo"}, "expected COCO's compressed run lengths"),
        ({"size": [10, 20]}, "do not add up"),
        (7, "mask of size 7"),
    ],
)
def test_run_lengths_of_another_image_are_refused(found, said):
    with pytest.raises(LabelError, match=f"bad_mask: .*{said}"):
        repeated(found, SIZE)


def test_the_box_of_a_mask_is_around_its_pixels():
    assert box_of(run_lengths(rectangle(2, 3, 8, 9)), SIZE) == Box(2, 3, 8, 9)
    with pytest.raises(LabelError, match="empty"):
        box_of(run_lengths(rectangle(0, 0, 0, 0)), SIZE)


def thing(label: str, *edges: int) -> Thing:
    return Thing(label, Box(*edges), run_lengths(rectangle(*edges)))


def test_small_objects_lie_upon_large_ones_and_the_rest_is_background():
    areas = areas_of([thing("dog", 4, 4, 6, 6), thing("sofa", 2, 2, 12, 8)], SIZE)
    assert {name: area(runs) for name, runs in areas.items()} == {"background": 140, "dog": 4, "sofa": 56}


def test_a_class_of_ignored_pixels_is_in_no_area():
    areas = areas_of([thing("void", 0, 0, 10, 10), thing("dog", 4, 4, 6, 6)], SIZE)
    assert {name: area(runs) for name, runs in areas.items()} == {"background": 100, "dog": 4}


def test_without_objects_all_is_background():
    assert {name: area(runs) for name, runs in areas_of([], SIZE).items()} == {"background": 200}
