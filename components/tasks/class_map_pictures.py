"""Class maps drawn for people: images beside their truth and the answer, and which colour is which class.

In: uint8 images (N, 3, S, S), class maps (N, S, S), names. Out: a PNG as bytes, equal for equal input. Colours and the
sheet itself are `drawing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.tasks.areas import IGNORED
from components.tasks.drawing import colour_of, draw_areas, sheet, shortened

LINE = 18  # px, height of a class in the legend
MOST = 40  # classes that the legend names


def draw_beside_truth(
    pixels: NDArray[np.uint8],
    true: NDArray[np.uint8],
    answered: NDArray[np.uint8],
    classes: Sequence[str],
    captions: Sequence[str],
) -> bytes:
    """A row for each image: itself with its caption, the true areas over it, the answered ones; at last the legend.

    Pixels that are not judged show the image itself, in both.
    """
    pictures: list[NDArray[np.uint8]] = []
    words: list[str] = []
    for image, truth, answer, caption in zip(pixels, true, answered, captions, strict=True):
        seen = np.where(truth == IGNORED, IGNORED, answer).astype(np.uint8)
        pictures += [image, draw_areas(image, truth, classes), draw_areas(image, seen, classes)]
        words += [caption, "truth", "answer"]
    if pictures:
        pictures, words = [*pictures, _legend(classes)], [*words, "classes"]
    return sheet(pictures, words, columns=3, side=max(256, *pixels.shape[-1:]))


def _legend(classes: Sequence[str]) -> NDArray[np.uint8]:
    """(3, height, width): a square of its colour before the name of each class."""
    from PIL import Image, ImageDraw, ImageFont

    names = [*classes[:MOST], *([f"and {len(classes) - MOST} more"] if len(classes) > MOST else [])]
    page = Image.new("RGB", (240, LINE * len(names) + 4), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    for place, name in enumerate(names):
        top = LINE * place + 2
        if place < MOST:
            pen.rectangle((2, top + 2, 14, top + 14), fill=colour_of(place))
        pen.text((22, top), shortened(name), fill=(0, 0, 0), font=ImageFont.load_default(12))
    return np.ascontiguousarray(np.asarray(page).transpose(2, 0, 1))
