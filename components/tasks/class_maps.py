"""Logits of the pixels of an image -> the class of each, and how that agrees with the truth.

In: float32 logits (N, C, s, s), uint8 targets (N, S, S) with IGNORED where a pixel is not judged. Out: maps of places
in the classes, tables of pixels by truth and answer, costs. What the numbers are called and what they decide is left
to `segmentation`; how a label becomes a target, to `areas`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Outputs
from components.tasks.areas import IGNORED

LEAST = 1e-12  # probability below which no answer is taken to be surer of being wrong

ClassMaps = NDArray[np.uint8]
Tables = NDArray[np.int64]


def enlarged(logits: Outputs, side: int) -> Outputs:
    """(C, s, s) -> (C, side, side), bilinear: what torch's `interpolate` with align_corners=False gives."""
    if logits.shape[-1] == side:
        return logits
    mix = _mix(logits.shape[-1], side)
    return np.asarray(mix @ logits @ mix.T)


def answers(logits: Outputs) -> ClassMaps:
    """(C, S, S) -> (S, S): the place of the highest logit, of equal ones the first."""
    return np.asarray(logits.argmax(axis=0), dtype=np.uint8)


def tables_of(outputs: Outputs, targets: ClassMaps) -> Tables:
    """(N, C, C): of each image, judged pixels by true class (row) and answered class (column)."""
    classes = outputs.shape[1]
    found = np.zeros((len(outputs), classes, classes), dtype=np.int64)
    for row, (logits, truth) in enumerate(zip(outputs, targets, strict=True)):
        judged = truth != IGNORED
        pairs = truth[judged].astype(np.int64) * classes + answers(enlarged(logits, truth.shape[-1]))[judged]
        found[row] = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return found


def costs_of(outputs: Outputs, targets: ClassMaps) -> Floats:
    """(N,): of each image, the sum over judged pixels of -log(probability of the truth), nats."""
    found = np.zeros(len(outputs))
    for row, (logits, truth) in enumerate(zip(outputs, targets, strict=True)):
        judged = truth != IGNORED
        rows = enlarged(logits, truth.shape[-1])[:, judged]
        top = rows.max(axis=0)
        total = np.exp(rows - top).sum(axis=0)
        right = rows[truth[judged], np.arange(rows.shape[1])] - top
        found[row] = np.minimum(np.log(total) - right, -np.log(LEAST)).sum(dtype=np.float64)
    return found


@lru_cache(maxsize=16)
def _mix(small: int, large: int) -> NDArray[np.float32]:
    """(large, small): how much each small pixel adds to each large one; the outermost reach to the edge."""
    centres = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(small))), dtype=np.float32)
