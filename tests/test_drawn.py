"""Answers over images: what was found is drawn where it is in the picture as it was sent, not in the model's square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import Box
from components.params import Params
from components.serving.drawn import draw_answer, draw_file
from components.tasks import Detection, Prediction

WIDE = np.zeros((3, 400, 800), dtype=np.uint8)
PLAIN = Prediction("cat", 0.9, 0.8, {"cat": 0.9, "dog": 0.1})


def test_an_answer_about_the_whole_image_changes_no_pixel() -> None:
    assert (draw_answer(WIDE, PLAIN, "stretch") == WIDE).all()


@pytest.mark.parametrize(("fit", "left", "right"), [("stretch", 200, 600), ("crop", 300, 500)])
def test_a_box_lies_where_the_object_is(fit: str, left: int, right: int) -> None:
    middle = Detection("cat", Box(0.25, 0.25, 0.75, 0.75), 0.9)
    found = Prediction("cat", 0.9, 0.8, {"cat": 0.9}, detections=(middle,))
    row = np.flatnonzero(draw_answer(WIDE, found, fit)[:, 200].any(axis=0))  # type: ignore[arg-type]
    assert (row.min(), row.max()) == (pytest.approx(left, abs=4), pytest.approx(right, abs=4))


def test_areas_of_a_crop_leave_the_rest_of_the_image_alone() -> None:
    everywhere = Prediction("cat", 0.9, 0.8, {"cat": 1.0}, classes_of_pixels=np.zeros((4, 4), dtype=np.uint8))
    columns = draw_answer(WIDE, everywhere, "crop").any(axis=(0, 1))
    assert (columns[200:600].all(), columns[:200].any(), columns[600:].any()) == (True, False, False)


def test_pictures_of_one_name_in_two_folders_stay_two(tmp_path: Path, params: Params) -> None:
    written = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (60, 40)).save(tmp_path / name / "photo.png")
        written.add(draw_file(tmp_path / name / "photo.png", PLAIN, "stretch", params.ingest, tmp_path / "drawn"))
    assert sorted(path for path in (tmp_path / "drawn").iterdir()) == sorted(written)
    assert len(written) == 2
