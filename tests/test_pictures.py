"""Pictures for people: they come out for every number of classes and whatever users call their classes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.tasks.pictures import draw_captioned, draw_confusion, draw_history

ODD_NAMES = (
    "$\\frac{1}{0}$",
    "<script>alert(1)</script>",
    "new\nline\ttab",
    "Füchse und sehr viele andere Tiere",
    "猫🐈",
)


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def test_odd_class_names_are_drawn_as_plain_text():
    table = np.eye(5, dtype=np.int64) * 10 + 1
    assert size_of(draw_confusion(table, ODD_NAMES, "5 test images"))
    pixels = np.zeros((5, 3, 8, 8), dtype=np.uint8)
    assert size_of(draw_captioned(pixels, [f"{name}\n→ {name} 50%" for name in ODD_NAMES], "none"))


@pytest.mark.parametrize("count", [2, 20, 61, 300])
def test_a_confusion_matrix_stays_of_a_size_to_look_at(count: int):
    width, height = size_of(draw_confusion(np.eye(count, dtype=np.int64), [f"class {i}" for i in range(count)], ""))
    assert min(width, height) > 300
    assert max(width, height) < 2000


@pytest.mark.parametrize("count", [0, 1, 24])
def test_mistakes_are_drawn_however_few(count: int):
    red = np.zeros((count, 3, 16, 16), dtype=np.uint8)
    red[:, 0] = 255
    png = draw_captioned(red, ["cat\n→ dog 90%"] * count, "no mistakes")
    with Image.open(io.BytesIO(png)) as image:
        shown = (np.asarray(image)[..., :3] == (255, 0, 0)).all(axis=2).mean()
    assert (shown > 0.1) == (count > 0)


@pytest.mark.parametrize("epochs", [1, 30])
def test_a_history_of_any_length_is_drawn(epochs: int):
    history = [{"train/loss": 1 / (n + 1), "val/loss": 1.1 / (n + 1), "val/top1": n / 30} for n in range(epochs)]
    assert size_of(draw_history(history, 0))


def test_equal_input_gives_equal_bytes():
    table = np.eye(3, dtype=np.int64)
    assert draw_confusion(table, "abc", "t") == draw_confusion(table, "abc", "t")
