"""The one tensor that every detector answers, and the objects in it: rows -> boxes, scores, classes.

A row stands for one cell of a grid over the image (for one of several anchors there): the distances from the cell's
centre to the edges of a box, in cells; the cell's column and row, and how many cells its grid has across; a logit for
each class. So boxes decode the same whatever the net and the image size, all numbers are small enough for bf16 and
fp16, and suppression of double answers stays outside of the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Outputs
from components.tasks.matching import Classes, suppress

COLUMN, ROW, ACROSS = 4, 5, 6  # behind the distances to the left, top, right and bottom edge
LOGITS = 7  # the first column of class logits
CANDIDATES = 1000  # pairs of row and class an image that are looked at, the best ones
OVERLAP = 0.6  # IoU; of two answers of one class that overlap more the surer one stays


@dataclass(frozen=True)
class Found:
    """Objects in one image, the surest first."""

    boxes: Floats  # (M, 4) in shares of the square
    classes: Classes  # (M,) places in the classes
    scores: Floats  # (M,) 0..1

    def above(self, limits: Floats) -> Found:
        """Those whose score reaches the limit of their class; `limits` (C,)."""
        kept = self.scores >= limits[self.classes]
        return Found(self.boxes[kept], self.classes[kept], self.scores[kept])


def found_in(outputs: Outputs, least: float, most: int = 100) -> list[Found]:
    """What each image shows: objects with a score of at least `least`, `most` at most, doubles removed."""
    return [_found(rows, least, most) for rows in outputs]


def boxes_of(rows: Outputs) -> Floats:
    """(..., 4): boxes in shares of the square, cut at its edges."""
    centre, across = rows[..., COLUMN:ACROSS] + 0.5, rows[..., ACROSS : ACROSS + 1]
    corners = np.concatenate([centre - rows[..., :2], centre + rows[..., 2:4]], axis=-1)
    return np.asarray((corners / across).clip(0, 1), dtype=np.float64)


def sigmoid(logits: NDArray[np.float32]) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64))))


def _found(rows: Outputs, least: float, most: int) -> Found:
    places, classes = np.nonzero(rows[:, LOGITS:] >= np.log(least / (1 - least)))
    logits = rows[places, LOGITS + classes]
    order = np.argsort(-logits, kind="stable")[:CANDIDATES]
    places, classes, scores = places[order], classes[order], sigmoid(logits[order])
    boxes = boxes_of(rows[places])
    kept = suppress(boxes, classes, OVERLAP, most)
    return Found(boxes[kept], classes[kept], scores[kept])
