"""Boxes that people drew -> what a detector should answer; and places in a picture to and fro the model's square.

In: the labels of an `ImageSet` (texts of `annotations.things_text`), boxes in px. Out: targets float32 (N, K, 7), where
places are shares of the square, 0..1. With fit "crop" the square is the middle of the picture: boxes are cut at its
edges, and those of which less than VISIBLE is left are not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Box, Thing, things_in
from components.tasks import Floats, TaskError

if TYPE_CHECKING:
    from components.data.dataset import ImageSet

CLASS, CROWD, AREA = 4, 5, 6  # columns of targets behind the box's left, top, right, bottom
WIDTH = 7  # columns of targets
EMPTY = -1  # class of a slot without a box
VISIBLE = 0.25  # of a box's area must lie in the square


def targets_of(images: ImageSet, classes: Sequence[str]) -> NDArray[np.float32]:
    """(N, K, 7): left, top, right, bottom, place in `classes`, whether it is a crowd, area of the square.

    The area is that of the whole square in px of the original picture, the same in all slots of an image, so that the
    sizes of found boxes are known too. Slots without a box have the class -1; there is one at least. Raises TaskError
    for a class that is not in `classes`.
    """
    things = [things_in(label) for label in images.labels]
    _check({thing.label for each in things for thing in each}, classes)
    place = {name: index for index, name in enumerate(classes)}
    rows = [_rows(each, size, images.fit, place) for each, size in zip(things, images.sizes, strict=True)]
    targets = np.zeros((len(rows), max(map(len, rows), default=0) + 1, WIDTH), dtype=np.float32)
    targets[:, :, CLASS] = EMPTY
    for target, found, size in zip(targets, rows, images.sizes, strict=True):
        target[: len(found), :AREA] = found
        target[:, AREA] = _area(square_of(size, images.fit))
    return targets


def square_of(size: tuple[int, int], fit: Literal["stretch", "crop"]) -> Box:
    """What the model sees of a picture of `size` (width, height), in px: all of it, or its middle square."""
    width, height = size
    if fit == "stretch":
        return Box(0.0, 0.0, float(width), float(height))
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return Box(left, top, left + side, top + side)


def to_shares(boxes: Floats, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> Floats:
    """(M, 4) in px of a picture of `size` -> shares of its square; below 0 or above 1 outside of it."""
    left, top, right, bottom = square_of(size, fit)
    sides = np.array([right - left, bottom - top] * 2)
    return np.asarray((boxes.reshape(-1, 4) - np.array([left, top, left, top])) / sides)


def to_pixels(box: Box, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> Box:
    """A box in shares of the square -> px of the picture of `size` (width, height)."""
    left, top, right, bottom = square_of(size, fit)
    across, down = right - left, bottom - top
    return Box(left + box.left * across, top + box.top * down, left + box.right * across, top + box.bottom * down)


def asked(target: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(K,) or (N, K): the slots that hold an object, crowds left out."""
    return np.asarray((target[..., CLASS] >= 0) & (target[..., CROWD] == 0))


def _rows(
    things: Sequence[Thing], size: tuple[int, int], fit: Literal["stretch", "crop"], place: dict[str, int]
) -> NDArray[np.float64]:
    """(M, 6): the first columns of targets, of the things that the square shows."""
    whole = to_shares(np.array([thing.box for thing in things], dtype=np.float64), size, fit)
    boxes = whole.clip(0, 1)
    kept = _areas(boxes) >= VISIBLE * _areas(whole)
    rest = np.array([[place[thing.label], thing.crowd] for thing in things], dtype=np.float64).reshape(-1, 2)
    return np.concatenate([boxes, rest], axis=1)[kept]


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _check(found: set[str], classes: Sequence[str]) -> None:
    if unknown := sorted(found - set(classes)):
        raise TaskError(
            f"Label(s) {', '.join(map(repr, unknown[:5]))} are not among the model's {len(classes)} classes. "
            "Train again: `visionloop run`."
        )
