"""Two groups of trainings, judged on the same real images -> by how much one is better, with an interval.

In: what is measured of each training on any choice of images. Out: `Difference`s and verdicts. Luck has two sources:
which images are held out (bootstrap over images, paired) and which weights a training started from (spread between
seeds). Each gives a distance from the difference to either end; the two are joined by the square root of the sum of
their squares, as Zou and Donner do with confidence limits (Statistics in Medicine 27, 2008). Nothing is trained here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.registry.gate import FEWEST_DISAGREEMENTS
from components.registry.intervals import bootstrap
from components.tasks import Floats, Places

Verdict = Literal["helps", "hurts", "no evidence"]
Measure = Callable[[Places], float]


@dataclass(frozen=True)
class Difference:
    """With made images minus without; `differ` is the number of images that tell the two apart."""

    value: float
    low: float
    high: float
    differ: int

    @property
    def verdict(self) -> Verdict:
        if self.differ < FEWEST_DISAGREEMENTS:
            return "no evidence"
        return "helps" if self.low > 0 else "hurts" if self.high < 0 else "no evidence"


def compare(
    made: Sequence[Measure], real: Sequence[Measure], images: int, differ: int, confidence: float
) -> Difference:
    """The mean over seeds of made - real, both 0..1; the i-th of both started from the same seed."""
    pairs = list(zip(made, real, strict=True))

    def mean(at: Places) -> float:
        return sum(one(at) - other(at) for one, other in pairs) / len(pairs)

    everything = np.arange(images)
    value, (low, high) = mean(everything), bootstrap(images, mean, confidence)
    luck = seed_luck([one(everything) - other(everything) for one, other in pairs], confidence)
    low, high = value - math.hypot(value - low, luck), value + math.hypot(high - value, luck)
    return Difference(value, max(low, -1.0), min(high, 1.0), differ)


def compare_scores(made: Floats, real: Floats, confidence: float) -> Difference:
    """The same for the mean of one score an image, (seeds, N); images with NaN count for nothing."""
    change = made - real
    change = change[:, ~np.isnan(change).any(axis=0)]
    if not change.shape[1]:
        return Difference(0.0, 0.0, 0.0, 0)
    measures = [lambda at, row=row: float(row[at].mean()) for row in change]
    nothing = [lambda at: 0.0] * len(change)  # noqa: ARG005
    return compare(measures, nothing, change.shape[1], int((change != 0).any(axis=0).sum()), confidence)


def seed_luck(differences: Sequence[float], confidence: float) -> float:
    """Half the width of Student's interval of the mean over seeds; 0 for one seed, of which nothing is known."""
    from scipy.stats import t

    if len(differences) < 2:
        return 0.0
    quantile = float(t.ppf((1 + confidence) / 2, len(differences) - 1))
    return quantile * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
