"""The sheet of augmented images shows what training sees: pictures, and labels, boxes or areas as they were moved."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from components.model.contact_sheet import _words, draw_augmented
from tests.conftest import ReportInMemory
from tests.training import run, shapes

CLASSES = ("cat", "dog", "owl")
GREY = np.full((3, 3, 64, 64), 128, dtype=np.uint8)


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(png: bytes) -> float:
    """Share of the sheet that is not grey."""
    found = pixels_of(png)
    return float((found.max(axis=2) - found.min(axis=2) > 30).mean())


def test_boxes_are_drawn_and_empty_slots_are_not():
    boxes = np.zeros((3, 4, 7), dtype=np.float32)
    boxes[..., 4] = -1
    empty = coloured(draw_augmented(GREY, boxes, CLASSES, "boxes"))
    boxes[1, 2, :5] = (0.25, 0.25, 0.75, 0.75, 2)
    assert empty == 0
    assert coloured(draw_augmented(GREY, boxes, CLASSES, "boxes")) > 0.002


def test_areas_are_drawn_and_unknown_pixels_are_not():
    areas = np.full((3, 64, 64), 255, dtype=np.uint8)
    assert coloured(draw_augmented(GREY, areas, CLASSES, "pixels")) == 0
    areas[0] = 1
    assert coloured(draw_augmented(GREY, areas, CLASSES, "pixels")) > 0.05


def test_labels_are_named_with_their_share_where_images_are_mixed():
    assert _words(np.array(2), CLASSES) == "owl"
    assert _words(np.array([0.3, 0.7, 0.01]), CLASSES) == "30% cat\n70% dog"
    assert _words(np.array([1.0, 0, 1.0]), CLASSES) == "cat\nowl"
    assert draw_augmented(GREY, np.array([0, 1, 2]), CLASSES, "classes").startswith(b"\x89PNG")


def test_a_training_tells_one_sheet_and_which_classes_suffer(tmp_path, report: ReportInMemory):
    run(tmp_path, shapes(), report, epochs=1)
    assert report.pictures["augmented"].startswith(b"\x89PNG")
    assert [row["class"] for row in report.tables["val_per_class"]] == sorted(set(shapes().labels))


def test_classes_that_suffer_are_named_the_worst_first():
    from components.model.train import suffering_classes

    rows = [
        {"class": name, "images": images, "recall": recall}
        for name, images, recall in (("a", 9, 0.9), ("b", 9, 0.5), ("c", 2, 0.1), ("d", 0, 0.0), ("e", 9, 1.0))
    ]
    assert suffering_classes(rows, "recall") == ["c 0.10 (2 images)"]
    assert suffering_classes(rows[:1], "recall") == []
