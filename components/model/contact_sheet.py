"""What training really sees: a sheet of augmented images with their labels, boxes or areas.

In: images and targets as `Batches.examples` gives them. Out: a PNG. One look at it shows an augmentation that goes too
far, or boxes that did not follow their image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Box
from components.tasks import Detection, TargetKind, Targets

Pixels = NDArray[np.uint8]
LEAST = 0.05  # share of a mixed label that is worth a word


def draw_augmented(images: Pixels, targets: Targets, classes: Sequence[str], kind: TargetKind) -> bytes:
    """`images` (N, 3, S, S) in a grid, `targets` as they are for `kind` drawn over them or written below."""
    from components.tasks.drawing import draw_areas, draw_detections, sheet
    from components.tasks.pictures import draw_captioned

    if kind == "boxes":
        pairs = _with_boxes(images, targets, classes)
        return sheet([draw_detections(*pair, classes) for pair in pairs], _blank(images))
    if kind == "pixels":
        drawn = [draw_areas(image, areas, classes) for image, areas in zip(images, targets, strict=True)]
        return draw_captioned(np.stack(drawn), _blank(images), "no images")
    return draw_captioned(images, [_words(target, classes) for target in targets], "no images")


def _with_boxes(images: Pixels, targets: Targets, classes: Sequence[str]) -> list[tuple[Pixels, list[Detection]]]:
    """Each image with its boxes, (K, 7) rows of which those of class -1 are none."""
    return [
        (image, [_detection(slot, classes) for slot in slots if slot[4] >= 0])
        for image, slots in zip(images, targets, strict=True)
    ]


def _detection(slot: NDArray[np.float32], classes: Sequence[str]) -> Detection:
    return Detection(classes[int(slot[4])], Box(*(float(edge) for edge in slot[:4])), 1.0)


def _words(target: NDArray[np.generic], classes: Sequence[str]) -> str:
    """The class at place `target`, or the classes of a (C,) target with how much of each where that is not whole."""
    if target.ndim == 0:
        return classes[int(target)]
    named = [(name, float(share)) for name, share in zip(classes, target, strict=True) if share >= LEAST]
    return "\n".join(name if share > 1 - LEAST else f"{share:.0%} {name}" for name, share in named)


def _blank(images: Pixels) -> list[str]:
    return [""] * len(images)
