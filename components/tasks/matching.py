"""Boxes against boxes, in numpy: overlap (IoU), non-maximum suppression, and which found box is which true one.

In and out: boxes (M, 4) as left, top, right, bottom in any one unit. What a box stands for is the caller's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]
Classes = NDArray[np.intp]


def overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """(M, L): intersection over union of each pair; 0 where both have no area."""
    across = np.minimum(one[:, None, 2], other[None, :, 2]) - np.maximum(one[:, None, 0], other[None, :, 0])
    down = np.minimum(one[:, None, 3], other[None, :, 3]) - np.maximum(one[:, None, 1], other[None, :, 1])
    shared = across.clip(0) * down.clip(0)  # side by side: a product along an axis of two is ten times slower
    union = _areas(one)[:, None] + _areas(other)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-12), dtype=np.float64)


def suppress(boxes: Boxes, classes: Classes, threshold: float, most: int) -> NDArray[np.intp]:
    """Places of the boxes to keep, `most` at most, of boxes sorted by score from high to low.

    Greedy: a box that overlaps a kept one of its class by more than `threshold` (IoU) is dropped.
    """
    covered = (overlaps(boxes, boxes) > threshold) & (classes[:, None] == classes[None, :])
    alive, kept = np.ones(len(boxes), dtype=np.bool_), []
    for place in range(len(boxes)):
        if alive[place]:
            kept.append(place)
            alive &= ~covered[place]
        if len(kept) == most:
            break
    return np.array(kept, dtype=np.intp)


def partners(
    boxes: Boxes, classes: Classes, others: Boxes, of_others: Classes, threshold: float = 0.5
) -> NDArray[np.intp]:
    """(M,): for each box the place of its own among `others`, or -1.

    As COCO matches: boxes come sorted by score; each takes the free one of its class that it overlaps most, by at
    least `threshold`.
    """
    shared = np.where(classes[:, None] == of_others[None, :], overlaps(boxes, others), 0.0)
    mine = np.full(len(boxes), -1, dtype=np.intp)
    for place in np.flatnonzero((shared >= threshold).any(axis=1)):
        best = int(shared[place].argmax())
        if shared[place, best] >= threshold:
            mine[place] = best
            shared[:, best] = 0.0
    return mine


def _areas(boxes: Boxes) -> NDArray[np.floating]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
