"""What a picture shows is one text: equal for equal contents, refused with a reason where it cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.data.annotations import (
    Annotation,
    Box,
    LabelError,
    Thing,
    areas_in,
    areas_text,
    classes_of,
    is_ignored,
    labels_in,
    labels_text,
    mask_of,
    one_label,
    run_lengths,
    things_in,
    things_text,
)

SIZE = (100, 50)
CAR = Thing("car", Box(10.0, 5.0, 30.0, 20.0))


def refusal(*edges: float, size: tuple[int, int] | None = SIZE) -> str:
    with pytest.raises(LabelError) as caught:
        things_text([Thing("car", Box(*edges))], size)
    assert caught.value.code == "bad_box"
    return caught.value.detail


# Labels of the whole picture


def test_labels_are_sorted_and_said_once():
    assert labels_text(["dog", "car", "dog"]) == '["car","dog"]'
    assert labels_in('["car","dog"]') == ("car", "dog")
    assert labels_in(labels_text([])) == ()


@pytest.mark.parametrize("text", ["", "car", "{}", "[1]", '[""]', "null", "[[]]"])
def test_a_text_that_is_no_list_of_labels_is_refused(text):
    with pytest.raises(LabelError, match=r"expected (JSON|a JSON list of labels)"):
        labels_in(text)


def test_one_label_is_one_label():
    assert one_label(Annotation(labels=("cat",))) == "cat"
    with pytest.raises(LabelError, match="many_labels: labels cat, dog; expected exactly one"):
        one_label(Annotation(labels=("cat", "dog")))
    with pytest.raises(LabelError, match="no_label"):
        one_label(Annotation(things=(CAR,)))


def test_the_classes_of_an_annotation_are_all_that_it_names():
    said = Annotation(labels=("b", "a"), things=(CAR,), areas={"road": "01"})
    assert classes_of(said) == ("a", "b", "car", "road")


@pytest.mark.parametrize(("name", "ignored"), [("Void", True), ("-dirt", True), ("unlabelled", True), ("road", False)])
def test_some_names_stand_for_pixels_that_are_not_judged(name, ignored):
    assert is_ignored(name) is ignored


# Objects


def test_the_order_of_objects_does_not_matter():
    other = Thing("bus", Box(1.0, 2.0, 3.0, 4.0), crowd=True)
    assert things_text([CAR, other], SIZE) == things_text([other, CAR], SIZE)
    assert set(things_in(things_text([CAR, other]))) == {CAR, other}


def test_edges_have_a_hundredth_of_a_px():
    (thing,) = things_in(things_text([Thing("car", Box(1.00499, 2, 30, 40))], SIZE))
    assert thing.box == Box(1.0, 2.0, 30.0, 40.0)


def test_whole_numbers_and_floats_are_the_same_edges():
    assert things_text([Thing("car", Box(10, 5, 30, 20))]) == things_text([CAR])


def test_what_is_written_once_is_written_again():
    text = things_text([CAR, Thing("car", Box(0.1, 0.2, 99.99, 49.5), mask="01")], SIZE)
    assert things_text(things_in(text), SIZE) == text


def test_an_overhang_of_a_px_is_cut_off():
    (thing,) = things_in(things_text([Thing("car", Box(-1.0, -0.5, 101.0, 50.5))], SIZE))
    assert thing.box == Box(0.0, 0.0, 100.0, 50.0)


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((math.nan, 1, 2, 3), "has an edge that is no number"),
        ((1, 1, math.inf, 3), "has an edge that is no number"),
        ((5, 1, 5, 3), "has no area"),
        ((5, 1, 5.001, 3), "has no area"),
        ((5, 1, 2, 3), "has swapped corners"),
        ((5, 3, 8, 1), "has swapped corners"),
        ((-1.5, 1, 5, 3), "lies outside its image of 100 x 50 px"),
        ((90, 1, 102, 3), "lies outside its image of 100 x 50 px"),
        ((100, 1, 101, 3), "lies outside its image of 100 x 50 px"),
    ],
)
def test_a_box_that_cannot_be_is_refused(edges, said):
    assert said in refusal(*edges)


def test_without_a_size_only_what_is_wrong_in_itself_is_refused():
    assert things_text([Thing("car", Box(500, 500, 600, 600))])
    assert "swapped corners" in refusal(5, 1, 2, 3, size=None)


@pytest.mark.parametrize(
    "text", ["[1]", '[{"label": "a"}]', '[{"label": "a", "box": [1, 2]}]', '[{"box": "abcd"}]', "3"]
)
def test_a_text_that_is_no_list_of_objects_is_refused(text):
    with pytest.raises(LabelError, match="expected a JSON list of objects"):
        things_in(text)


# Masks


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_a_mask_is_its_run_lengths(mask):
    assert np.array_equal(mask_of(run_lengths(mask), (mask.shape[1], mask.shape[0])), mask)


def test_the_runs_of_a_large_mask_are_long_numbers():
    mask = np.hypot(*np.mgrid[-400:400, -600:600]) < 300
    assert np.array_equal(mask_of(run_lengths(mask), (1200, 800)), mask)


@pytest.mark.parametrize("runs", ["", "a", "é", "oooo", "0" * 30, "01:0000", "N", "ooooooooo0"])
def test_run_lengths_of_another_picture_are_refused(runs):
    """pycocotools answers some of these with memory of its neighbours."""
    with pytest.raises(LabelError, match="bad_mask"):
        mask_of(runs, (5, 5))


def test_a_mask_that_would_fill_the_memory_is_refused():
    with pytest.raises(LabelError, match="at most 268,435,456 pixels"):
        mask_of("01", (10**6, 10**6))


def test_areas_carry_their_size():
    assert areas_in(areas_text({"road": "01", "car": "10"}, SIZE)) == ({"road": "01", "car": "10"}, SIZE)
    with pytest.raises(LabelError, match="expected a JSON object"):
        areas_in('{"areas": {}}')
