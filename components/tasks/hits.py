"""Which of the objects that were found are there, at IoU 0.5: tallies, F1, the best thresholds, agreement of two.

In: what was found in each image, and targets (N, K, 7). An object within a crowd counts neither as hit nor as miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Targets
from components.tasks.boxes import CLASS, CROWD, asked
from components.tasks.detector_outputs import Found
from components.tasks.matching import overlaps, partners

HIT, ANSWERED, ASKED = 0, 1, 2  # columns of tallies
OVERLAP = 0.5  # IoU


def tallies(found: Sequence[Found], targets: Targets, classes: int) -> Floats:
    """(N, C, 3): objects of each class that were hit, that were answered, and that were asked for."""
    table = np.zeros((len(found), classes, 3))
    for row, each, target in zip(table, found, targets, strict=True):
        hit, counted = hits(each, target)
        row[:, HIT] = np.bincount(each.classes[hit], minlength=classes)
        row[:, ANSWERED] = np.bincount(each.classes[counted], minlength=classes)
        row[:, ASKED] = np.bincount(target[asked(target), CLASS].astype(np.intp), minlength=classes)
    return table


def hits(found: Found, target: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two (M,): which objects found are there, and which count at all."""
    true, crowds = target[asked(target)], target[(target[:, CLASS] >= 0) & (target[:, CROWD] == 1)]
    hit = partners(found.boxes, found.classes, true[:, :4], true[:, CLASS].astype(np.intp), OVERLAP) >= 0
    near = overlaps(found.boxes, crowds[:, :4]) > 0
    in_crowd = (near & (found.classes[:, None] == crowds[None, :, CLASS])).any(axis=1)
    return hit, hit | ~in_crowd


def f1(tally: Floats) -> Floats:
    """(...): of tallies (..., 3); 0 where nothing was answered nor asked for."""
    return np.asarray(2 * tally[..., HIT] / np.maximum(tally[..., ANSWERED] + tally[..., ASKED], 1))


def best_limits(found: Sequence[Found], targets: Targets, classes: int, usual: float) -> Floats:
    """(C,): by class the score from which on answers have the highest F1; `usual` for a class that is never hit."""
    judged = [hits(each, target) for each, target in zip(found, targets, strict=True)]
    counted = np.concatenate([each for _, each in judged])
    hit = np.concatenate([each for each, _ in judged])[counted]
    scores = np.concatenate([each.scores for each in found])[counted]
    places = np.concatenate([each.classes for each in found])[counted]
    there = targets[asked(targets), CLASS]
    limits = [
        _best_limit(scores[places == place], hit[places == place], int((there == place).sum()), usual)
        for place in range(classes)
    ]
    return np.array(limits)


def common(one: Found, other: Found) -> float:
    """Twice the objects that both found, by those of either; 1 where neither found any."""
    total = len(one.scores) + len(other.scores)
    both = partners(one.boxes, one.classes, other.boxes, other.classes, OVERLAP) >= 0
    return 2 * float(both.sum()) / total if total else 1.0


def _best_limit(scores: Floats, hit: NDArray[np.bool_], there: int, usual: float) -> float:
    """Half way between the last score that is answered and the next, which no longer is."""
    if not hit.any():
        return usual
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    quality = 2 * np.cumsum(hit[order]) / (np.arange(1, len(order) + 1) + there)
    quality[:-1][ranked[:-1] == ranked[1:]] = 0  # a threshold cannot part equal scores
    last = int(quality.argmax())
    return float(ranked[last] + ranked[last + 1]) / 2 if last + 1 < len(ranked) else float(ranked[last]) / 2
