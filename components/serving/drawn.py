"""Answers drawn over the images that they are about, for `predict --draw`.

In: the picture as it was sent, its prediction, and how the picture became the model's square. Out: uint8 (3, H, W), or
PNG files named after the images. How boxes and areas look is in `components.tasks.drawing`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.annotations import Box
from components.data.images import square_of, to_rgb8
from components.params import IngestParams
from components.tasks import Detection, Prediction
from components.tasks.boxes import to_pixels
from components.tasks.drawing import LEFT_AS_IT_IS, draw_areas, draw_detections, png_of, sheet
from components.workspace import replace_file

Pixels = NDArray[np.uint8]
Fit = Literal["stretch", "crop"]


def draw_file(file: Path, prediction: Prediction, fit: Fit, ingest: IngestParams, folder: Path) -> Path:
    """Write the picture in `file` with its answer into `folder`; return the path of the PNG."""
    pixels = np.ascontiguousarray(to_rgb8(file.read_bytes(), ingest).rgb.transpose(2, 0, 1))
    about_all = prediction.detections is None and prediction.classes_of_pixels is None
    path = folder / f"{file.stem}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}.png"  # two folders, one name
    with replace_file(path) as temporary:
        caption = f"{prediction.label} {prediction.confidence:.0%}"
        drawn = sheet([pixels], [caption]) if about_all else png_of(draw_answer(pixels, prediction, fit))
        temporary.write_bytes(drawn)
    return path


def draw_answer(pixels: Pixels, prediction: Prediction, fit: Fit) -> Pixels:
    """`pixels` (3, H, W) with boxes or areas over it; as it is where the answer is about the image as a whole."""
    classes, (height, width) = list(prediction.probabilities), pixels.shape[1:]
    if prediction.classes_of_pixels is not None:
        return draw_areas(pixels, _spread(prediction.classes_of_pixels, (width, height), fit), classes)
    if prediction.detections is not None:
        return draw_detections(pixels, _of_image(prediction.detections, (width, height), fit), classes)
    return pixels


def _of_image(found: Sequence[Detection], size: tuple[int, int], fit: Fit) -> list[Detection]:
    """Boxes in shares of the whole image instead of the square."""
    width, height = size
    boxes = (to_pixels(each.box, size, fit) for each in found)
    shares = (Box(box.left / width, box.top / height, box.right / width, box.bottom / height) for box in boxes)
    return [Detection(each.label, box, each.confidence) for each, box in zip(found, shares, strict=True)]


def _spread(areas: Pixels, size: tuple[int, int], fit: Fit) -> Pixels:
    """(height, width): the areas of the square where it lies in the image, the rest left as it is."""
    left, top, right, bottom = (round(edge) for edge in square_of(*size, fit))
    whole = np.full((size[1], size[0]), LEFT_AS_IT_IS, dtype=np.uint8)
    square = Image.fromarray(areas).resize((right - left, bottom - top), Image.Resampling.NEAREST)
    whole[top:bottom, left:right] = np.asarray(square)
    return whole
