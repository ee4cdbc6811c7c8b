"""Tiling: windows cover a large picture, things are cut with them, and what tiles found is one answer again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.annotations import Box, Thing, mask_of, run_lengths
from components.data.tiling import Window, cut, things_in_window, windows
from components.tasks import Detection, Prediction
from components.tasks.tiles import joined

SIZE = (1000, 600)


@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    side=st.integers(1, 400),
    overlap=st.floats(0, 0.5),
)
def test_windows_cover_every_pixel_and_never_leave_the_picture(size: tuple[int, int], side: int, overlap: float):
    if max(size) / side > 30:
        side = max(side, max(size) // 30)
    seen = np.zeros((size[1], size[0]), dtype=np.bool_)
    for each in windows(size, side, overlap):
        assert 0 <= each.left < each.right <= size[0]
        assert 0 <= each.top < each.bottom <= size[1]
        assert each.size == (min(side, size[0]), min(side, size[1]))
        seen[each.top : each.bottom, each.left : each.right] = True
    assert seen.all()


def test_neighbours_overlap_by_the_share_that_is_asked_for():
    row = [each for each in windows(SIZE, 300, 0.2) if each.top == 0]
    assert [each.left for each in row] == [0, 233, 467, 700]
    assert min(one.right - other.left for one, other in pairwise(row)) >= 60


def test_a_small_picture_is_one_window():
    assert windows((200, 100), 300, 0.2) == [Window(0, 0, 200, 100)]


@pytest.mark.parametrize(("side", "overlap"), [(0, 0.2), (100, -0.1), (100, 1.0)])
def test_tiles_that_cannot_be_are_refused(side: int, overlap: float):
    with pytest.raises(ValueError, match="expected 1 px or more"):
        windows(SIZE, side, overlap)


def test_things_are_cut_at_the_window_and_left_out_where_little_is_seen():
    window = Window(100, 100, 400, 400)
    inside, over, outside = Box(150, 150, 200, 220), Box(80, 200, 140, 240), Box(60, 300, 115, 330)
    things = [Thing("car", box) for box in (inside, over, outside)]
    found = things_in_window(things, window, SIZE)
    assert [thing.box for thing in found] == [Box(50, 50, 100, 120), Box(0, 100, 40, 140)]


def test_masks_are_cut_with_their_things():
    mask = np.zeros((600, 1000), dtype=np.bool_)
    mask[150:220, 150:200] = True
    [thing] = things_in_window(
        [Thing("car", Box(150, 150, 200, 220), run_lengths(mask))], Window(100, 100, 400, 400), SIZE
    )
    assert np.array_equal(mask_of(thing.mask, (300, 300)), mask[100:400, 100:400])


def test_the_pixels_of_a_window_are_those_of_the_picture():
    rgb = np.random.default_rng(0).integers(0, 256, (600, 1000, 3), dtype=np.uint8)
    assert np.array_equal(cut(rgb, Window(10, 20, 110, 70)), rgb[20:70, 10:110])


def said(window: Window, boxes: list[tuple[Box, float]], label: str = "car") -> Prediction:
    """What a model would say of a tile that is asked for boxes in px of the picture."""
    width, height = window.size
    found = [
        Detection(
            label,
            Box(
                max((box.left - window.left) / width, 0),
                max((box.top - window.top) / height, 0),
                min((box.right - window.left) / width, 1),
                min((box.bottom - window.top) / height, 1),
            ),
            score,
        )
        for box, score in boxes
    ]
    return Prediction(label, 0.5, 0.1, {label: max((score for _, score in boxes), default=0.0)}, tuple(found))


def test_an_object_seen_whole_in_one_tile_and_cut_in_another_is_found_once():
    left, right = windows((500, 300), 300, 0.2)
    car = Box(220, 50, 290, 120)  # whole in the left tile; the right one begins at 200
    seam = Box(150, 200, 240, 260)  # whole in the left tile, a part of it in the right one
    whole = said(left, [(car, 0.8), (seam, 0.6)])
    part = said(right, [(car, 0.7), (seam, 0.95)])
    answer = joined([whole, part], [left, right], (500, 300))
    found = {
        tuple(round(edge * side) for edge, side in zip(each.box, (500, 300) * 2, strict=True))
        for each in answer.detections or ()
    }
    assert found == {(220, 50, 290, 120), (150, 200, 240, 260)}
    assert answer.signals["objects"] == 2


def test_neighbouring_objects_and_other_classes_stay():
    [window] = windows((300, 300), 300, 0.2)
    beside = said(window, [(Box(0, 0, 100, 100), 0.9), (Box(100, 0, 200, 100), 0.8)])
    assert len(joined([beside], [window], (300, 300)).detections or ()) == 2


def test_tiles_without_any_object_make_a_picture_without_any():
    both = windows((500, 300), 300, 0.2)
    answer = joined([said(window, []) for window in both], both, (500, 300))
    assert (answer.label, answer.confidence, answer.detections) == ("none", 1.0, ())
