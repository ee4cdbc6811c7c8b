"""Labels over images: boxes and areas are drawn, and a text that fits no picture spoils no mail."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import Box, Thing, areas_text, labels_text, run_lengths, things_text
from components.tasks.drawn_labels import draw_over
from tests.drawing import encode

PICTURE = encode(Image.new("RGB", (400, 360)))
MASK = np.zeros((360, 400), dtype=np.bool_)
MASK[100:200, 50:150] = True


def changed(label: str) -> np.ndarray:
    with Image.open(io.BytesIO(draw_over(PICTURE, label))) as image:
        return np.asarray(image.convert("RGB")).any(axis=2)


def test_a_box_is_drawn_around_its_object() -> None:
    found = changed(things_text([Thing("cat", Box(50, 100, 150, 200))]))
    assert found[100, 60:140].all()
    assert not found[130:170, 70:130].any()


def test_an_area_is_coloured() -> None:
    assert (changed(areas_text({"road": run_lengths(MASK)}, (400, 360))) == MASK).all()


@pytest.mark.parametrize("label", ["cat", labels_text(["cat", "dog"]), "", None, "[{]", '{"areas": 3}'])
def test_what_cannot_be_drawn_leaves_the_picture_as_it_was(label: str) -> None:
    assert draw_over(PICTURE, label) == PICTURE
