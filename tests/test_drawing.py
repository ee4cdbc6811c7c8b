"""Drawing: boxes, areas and sheets show what they are told, whatever the sizes, names and places."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import Box
from components.tasks import Detection
from components.tasks.drawing import colour_of, draw_areas, draw_detections, png_of, sheet, shortened

GREY = np.full((3, 400, 600), 128, dtype=np.uint8)
CLASSES = ("cat", "dog")


def test_a_box_is_drawn_in_the_colour_of_its_class_where_it_lies():
    drawn = draw_detections(GREY, [Detection("dog", Box(0.25, 0.25, 0.75, 0.75), 0.9)], CLASSES)
    assert drawn.shape == GREY.shape
    assert tuple(drawn[:, 200, round(0.25 * 599)]) == colour_of(1)
    assert tuple(drawn[:, 200, 300]) == (128, 128, 128)


def test_the_image_that_is_drawn_on_stays_as_it_was():
    draw_detections(GREY, [Detection("cat", Box(0, 0, 1, 1), 0.5)], CLASSES)
    assert (GREY == 128).all()


@pytest.mark.parametrize("box", [Box(-0.5, -0.2, 1.5, 1.2), Box(0.9, 0.9, 0.9, 0.9), Box(0.6, 0.6, 0.2, 0.2)])
def test_boxes_over_the_edge_without_area_or_swapped_do_not_break_the_drawing(box: Box):
    assert draw_detections(GREY, [Detection("cat", box, 1.0)], CLASSES).shape == GREY.shape


def test_true_boxes_are_white_frames():
    drawn = draw_detections(GREY, [], CLASSES, true=[Detection("cat", Box(0.5, 0.5, 1, 1), 1.0)])
    assert tuple(drawn[:, 300, round(0.5 * 599)]) == (255, 255, 255)


def test_a_small_image_is_enlarged_so_that_names_fit():
    drawn = draw_detections(GREY[:, :32, :48], [Detection("cat", Box(0, 0, 0.5, 0.5), 0.5)], CLASSES)
    assert drawn.shape == (3, 7 * 32, 7 * 48)


def test_areas_are_coloured_and_what_has_no_class_stays():
    areas = np.full((2, 2), 255, dtype=np.uint8)
    areas[0, 1] = 1
    drawn = draw_areas(GREY, areas, CLASSES)
    assert tuple(drawn[:, 10, 590]) == tuple(round((128 + each) / 2) for each in colour_of(1))
    assert (drawn[:, 210:, :] == 128).all()


def test_the_first_hundred_classes_have_colours_of_their_own():
    assert len({colour_of(place) for place in range(100)}) == 100


def test_a_sheet_holds_every_picture_and_its_caption_and_is_the_same_each_time():
    pictures, captions = [GREY, GREY[:, :100], GREY[:, :, :50]], ["one", "two\n$x_2$", "three" * 30]
    png = sheet(pictures, captions, columns=2, side=200)
    assert png == sheet(pictures, captions, columns=2, side=200)
    assert Image.open(io.BytesIO(png)).size == (2 * 204, 2 * (200 + 18 + 4))


def test_an_empty_sheet_says_so():
    assert Image.open(io.BytesIO(sheet([], []))).size[0] > 100


def test_a_png_is_the_image():
    assert np.asarray(Image.open(io.BytesIO(png_of(GREY)))).transpose(2, 0, 1).tolist() == GREY.tolist()


def test_names_are_one_short_line():
    assert shortened("a\nb\x00c  d") == "a b c d"
    assert shortened("x" * 100, 10) == "x" * 9 + "…"
