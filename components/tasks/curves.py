"""Yes-or-no answers ranked by how sure they are: average precision, and where best to draw the line, class by class.

In: scores and wanted answers (N, C). Out: numbers (C,), costs (N, C), and curves to draw. Ranking is done once, so that
thousands of resamples of the same images cost one pass each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Logits, Places

MIDDLE = 0.5  # threshold where nothing speaks for another
SUREST = 1e-12  # no answer is taken to be surer than this of being wrong


@dataclass(frozen=True)
class Ranking:
    """Images by falling score, in a column for each class."""

    order: Places  # (N, C): which image stands where
    wanted: Floats  # (N, C): 1 where the image that stands there shows the class, else 0
    last: Places  # (N, C): where the last image with the same score stands


def sigmoid(logits: Logits) -> Floats:
    """float64, of any shape: probabilities."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small))


def logit(probabilities: NDArray[np.floating]) -> Logits:
    """float32, of any shape; probabilities are kept within a ten-thousandth of 0 and 1."""
    kept = np.clip(probabilities.astype(np.float64), 1e-4, 1 - 1e-4)
    return np.log(kept / (1 - kept)).astype(np.float32)


def costs(logits: Logits, wanted: NDArray[np.floating]) -> Floats:
    """(N, C): binary cross-entropy of each answer, nats."""
    sure = logits.astype(np.float64)
    each = np.maximum(sure, 0) - sure * wanted + np.log1p(np.exp(-np.abs(sure)))
    return np.asarray(np.minimum(each, -np.log(SUREST)))


def ranked(scores: NDArray[np.floating], wanted: NDArray[np.floating]) -> Ranking:
    """Both (N, C); `wanted` is 0 or 1."""
    order = np.argsort(-scores, axis=0, kind="stable")
    falling = np.take_along_axis(scores, order, axis=0)
    ends = np.ones(falling.shape, dtype=np.bool_)
    ends[:-1] = falling[:-1] != falling[1:]
    places = np.where(ends, np.arange(len(falling))[:, None], len(falling))
    last = np.minimum.accumulate(places[::-1], axis=0)[::-1]
    return Ranking(order, np.take_along_axis(wanted, order, axis=0).astype(np.float64), last)


def average_precision(ranking: Ranking, repeats: NDArray[np.integer] | None = None) -> Floats:
    """(C,): mean precision at each image that shows the class, as scikit-learn defines it; NaN where none does.

    Image i counts `repeats[i]` times (N,); once where it is not given.
    """
    times = np.ones(ranking.order.shape) if repeats is None else repeats.astype(np.float64)[ranking.order]
    hits = times * ranking.wanted
    precision = hits.cumsum(axis=0) / np.maximum(times.cumsum(axis=0), 1)
    total = hits.sum(axis=0)
    gained = (hits * np.take_along_axis(precision, ranking.last, axis=0)).sum(axis=0)
    return np.where(total > 0, gained / np.maximum(total, 1), np.nan)


def precision_and_recall(ranking: Ranking, place: int) -> tuple[Floats, Floats]:
    """Of the class at `place`: recall, rising, and precision when all down to there are answered."""
    hits = ranking.wanted[:, place].cumsum()
    ends = np.unique(ranking.last[:, place])
    return hits[ends] / max(hits[-1], 1), hits[ends] / (ends + 1)


def best_thresholds(probabilities: Floats, wanted: NDArray[np.floating]) -> Floats:
    """(C,): for each class the threshold with the highest F1; MIDDLE for a class that no image shows.

    Every threshold between two neighbouring probabilities gives the same answers: of these MIDDLE is taken where it is
    among them, else the one halfway.
    """
    return np.array([_best_threshold(*pair) for pair in zip(probabilities.T, wanted.T, strict=True)])


def _best_threshold(probabilities: Floats, wanted: NDArray[np.floating]) -> float:
    if not (wanted > 0.5).any():
        return MIDDLE
    levels = np.unique(probabilities)[::-1]  # answered: all from this level upwards
    answered = (probabilities[:, None] >= levels).astype(np.float64)
    f1 = 2 * (wanted @ answered) / (wanted.sum() + answered.sum(axis=0))
    ends = list(zip(np.append(levels[1:], 0.0), levels, strict=True))
    ties = [ends[place] for place in np.flatnonzero(f1 >= f1.max() - 1e-12)]
    return min((_between(low, high) for low, high in ties), key=lambda each: abs(each - MIDDLE))


def _between(low: float, high: float) -> float:
    return MIDDLE if low < MIDDLE <= high else float((low + high) / 2)
