"""A label or a logged answer drawn over its image, for mails and pages.

In: the bytes of a picture, a label text (see `components.data.annotations`). Out: PNG bytes of the whole picture with
its boxes or areas. A text that is a class or a list of classes draws nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.annotations import Box, LabelError, Thing, areas_in, mask_of, things_in
from components.tasks import Detection
from components.tasks.drawing import LEFT_AS_IT_IS, draw_areas, draw_detections, png_of

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]


def draw_over(data: bytes, label: str | None) -> bytes:
    """`data` as a PNG with what `label` tells of it; `data` itself where that is nothing, or not of this picture."""
    if not label or label[0] not in "[{":
        return data
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        return png_of(draw_label(np.ascontiguousarray(pixels), label))
    except (OSError, LabelError):
        return data


def draw_label(pixels: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    """`pixels` (3, H, W) with the boxes or areas of `label`; raise LabelError for a text of no known kind."""
    if label[0] == "{":
        return _areas(pixels, label)
    if label.startswith("[{"):
        return _boxes(pixels, things_in(label))
    return pixels


def _areas(pixels: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    areas, size = areas_in(label)
    places = np.full(size[::-1], LEFT_AS_IT_IS, dtype=np.uint8)
    for place, runs in enumerate(areas.values()):
        places[mask_of(runs, size)] = place
    return draw_areas(pixels, places, list(areas))


def _boxes(pixels: NDArray[np.uint8], things: Sequence[Thing]) -> NDArray[np.uint8]:
    scale = np.array([pixels.shape[2], pixels.shape[1]] * 2)
    found = [Detection(each.label, Box(*(np.array(each.box) / scale).tolist()), 1.0) for each in things]
    return draw_detections(pixels, found, sorted({each.label for each in found}))
