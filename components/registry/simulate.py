"""How often the gate is wrong: thousands of made-up pairs of models, judged by the gate's own rule.

In: how many test images, on how many of them the models differ, by how much the challenger truly is better. Out: how
often it was promoted, with bounds for a benchmark to print. Only right-or-wrong scores are made up: where the
models differ, exactly one of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.params import PromoteParams
from components.registry.gate import FEWEST_DISAGREEMENTS, fallen_classes
from components.registry.intervals import exact_bounds, paired_interval


@dataclass(frozen=True)
class Trials:
    """Outcome of many trials of one setting; shares are of all trials."""

    images: int
    disagreement: float  # share of images for which the models' scores differ
    gain: float  # true difference of accuracy, challenger - champion
    trials: int
    promoted: float
    promoted_least: float  # with 95% confidence, exact
    promoted_most: float
    rejected: float

    def __str__(self) -> str:
        equal = self.gain == 0
        who = "equal challenger" if equal else f"challenger {100 * self.gain:+.0f} points"
        bound = f"at most {self.promoted_most:.2%}" if equal else f"at least {self.promoted_least:.2%}"
        return (
            f"{self.images:,} test images, {self.disagreement:.0%} disagreement, {who}: promoted {self.promoted:.2%} "
            f"({bound} with 95% confidence), rejected {self.rejected:.2%}"
        )


def simulate_promotion(
    params: PromoteParams,
    disagreement: float,
    gain: float,
    images: int = 2000,
    classes: int = 10,
    trials: int = 20_000,
    seed: int = 0,
) -> Trials:
    """Draw `trials` pairs of models on `images` test images in `classes` equal classes, and judge each pair."""
    sizes = np.full(classes, images // classes)
    random = np.random.default_rng(seed)
    gained_lost_same = [(disagreement + gain) / 2, (disagreement - gain) / 2, 1 - disagreement]
    drawn = random.multinomial(sizes[0], gained_lost_same, size=(trials, classes))
    gained, lost = drawn[..., 0], drawn[..., 1]
    low, high = paired_interval(gained.sum(-1), lost.sum(-1), sizes.sum(), params.confidence)
    change, differ = (gained - lost).astype(np.float64), (gained + lost).astype(np.float64)
    broken = fallen_classes(change, differ, sizes, params)[1].any(-1)
    promoted = (low > 0) & (differ.sum(-1) >= FEWEST_DISAGREEMENTS) & ~broken
    rejected = broken | (high < -params.margin)
    hits = int(promoted.sum())
    shares = (hits / trials, *exact_bounds(hits, trials), float(rejected.mean()))
    return Trials(int(sizes.sum()), disagreement, gain, trials, *shares)


def gate_errors(params: PromoteParams, disagreements: Sequence[float] = (0.1, 0.2), gain: float = 0.03) -> list[Trials]:
    """For `visionloop bench`: an equal challenger and one better by `gain`, at each share of disagreement."""
    return [simulate_promotion(params, share, better) for better in (0.0, gain) for share in disagreements]
