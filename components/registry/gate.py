"""Challenger and champion on the same images -> promote, reject, or not enough evidence; with reasons in words.

In: how the two compiled models did on the frozen test split. Out: a `Verdict`. Pure: nothing is read, measured or
changed here, and equal input gives an equal verdict.

The rule. A challenger that breaks a limit (parity, latency, size, a KPI, a class) is rejected. Otherwise it is promoted
when it is proven better: the lower end of the confidence interval of `challenger - champion`, image by image, is above
0. It is rejected when it is proven worse than the champion by more than `promote.margin`; in between the champion stays
for want of evidence. Only images on which exactly one of the two is right tell them apart, so the interval is a paired
one, far narrower than the difference of two separate accuracies.

- Right-or-wrong scores: Tango's interval, whose lower end is above 0 exactly when McNemar's test rejects. The test is
  an approximation: at 95% confidence an equal challenger wins at most 3.9% of the time with five or more
  disagreements (computed in tests/test_gate.py), but 6.3% with four; so fewer than five settle nothing.
- Other scores and metrics (macro_f1): percentile bootstrap over images.
- A class is lost when its mean score fell by more than `promote.max_class_loss` and the fall is beyond chance: a
  paired score test (McNemar's) in each class with enough images, at a level divided by their number (Bonferroni), since
  the worst of many small classes always looks bad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.params import PromoteParams
from components.registry.intervals import Floats, bootstrap, paired_interval, wilson

Decision = Literal["promote", "reject", "not_enough_evidence"]
FEWEST_DISAGREEMENTS = 5
COSTS = ("_ms", "_mb")  # endings of what is measured of a model, not of its answers


class GateError(ValueError):
    """The two models cannot be compared, or params name a metric that there is not."""


@dataclass(frozen=True)
class Parity:
    """How often the engine answers as the ONNX file that it was made from, and how often it must."""

    same: int
    images: int
    required: float  # share, 0..1


@dataclass(frozen=True)
class Judged:
    """How one compiled model did on the N test images; the images are in the same order for both models."""

    image_ids: Sequence[str]
    classes: Sequence[str]
    scores: Floats  # (N,) one an image, higher is better
    class_scores: Floats  # (N, C) the same for each class; NaN where an image has nothing to do with it
    metrics: Mapping[str, float]  # by flat name; of a challenger with latency_p99_ms and size_mb
    parity: Parity | None = None  # of a challenger
    # promote.metric on the images at these places (with repeats); None where it is the mean of `scores`
    measure: Callable[[NDArray[np.intp]], float] | None = None


@dataclass(frozen=True)
class Difference:
    """By how much the challenger is better in promote.metric (worse: negative), with its confidence interval."""

    value: float
    low: float
    high: float
    settles: bool = True  # False when it rests on too few images


@dataclass(frozen=True)
class Verdict:
    decision: Decision
    reasons: list[str]
    metric: str
    n: int  # test images
    difference: float | None = None  # as in Difference; None without a champion
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(challenger: Judged, champion: Judged | None, params: PromoteParams) -> Verdict:
    """The verdict on `challenger`; without a champion it only has to keep the limits.

    Raises GateError when the two did not see the same images, there is no image, or a metric in `params` is unknown.
    """
    _check(challenger, champion, params)
    metric, n = params.metric, len(challenger.scores)
    broken = broken_limits(challenger, params)
    if champion is None:
        first = f"There is no champion yet. {metric} is {challenger.metrics[metric]:.4f} on {n:,} test images."
        return Verdict("reject" if broken else "promote", [first, *broken], metric, n)
    difference = compare(challenger, champion, params)
    lost, doubtful = class_losses(challenger, champion, params)
    decision, why = _decide(difference, n, params)
    if broken or lost:
        decision, why = "reject", "Whatever the difference, a limit is broken:"
    reasons = [_in_words(challenger, champion, difference, params), why, *broken, *lost, *doubtful]
    return Verdict(decision, reasons, metric, n, difference.value, difference.low, difference.high)


def compare(challenger: Judged, champion: Judged, params: PromoteParams) -> Difference:
    """The paired difference of promote.metric, by the interval that fits the scores."""
    if challenger.measure and champion.measure:
        better, worse, sign = challenger.measure, champion.measure, -1 if lower_is_better(params.metric) else 1
        return _resampled(lambda at: sign * (better(at) - worse(at)), len(challenger.scores), params)
    change = challenger.scores - champion.scores
    if not np.isin(change, (-1, 0, 1)).all():
        return _resampled(lambda at: float(change[at].mean()), len(change), params)
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    low, high = paired_interval(gained, lost, len(change), params.confidence)
    return Difference(float(change.mean()), float(low), float(high), gained + lost >= FEWEST_DISAGREEMENTS)


def _resampled(statistic: Callable[[NDArray[np.intp]], float], n: int, params: PromoteParams) -> Difference:
    return Difference(statistic(np.arange(n)), *bootstrap(n, statistic, params.confidence))


def class_losses(challenger: Judged, champion: Judged, params: PromoteParams) -> tuple[list[str], list[str]]:
    """Sentences about classes that fell by more than is allowed: the proven falls, and those within chance."""
    ours, theirs = challenger.class_scores, champion.class_scores
    silent = np.isnan(ours) & np.isnan(theirs)  # where one alone is, it rightly said nothing: as good as can be
    change = np.where(silent, np.nan, np.nan_to_num(ours, nan=1.0) - np.nan_to_num(theirs, nan=1.0))
    images, total, squares = (~np.isnan(change)).sum(axis=0), np.nansum(change, axis=0), np.nansum(change**2, axis=0)
    fell, proven = fallen_classes(total, squares, images, params)

    def sentence(place: int, words: str) -> str:
        loss = -total[place] / images[place]
        allowed = f"promote.max_class_loss allows {params.max_class_loss:g}"
        return f"Class {challenger.classes[place]!r} fell by {loss:.3f} on {images[place]} images, {words} ({allowed})."

    return (
        [sentence(int(place), "more than chance explains") for place in np.flatnonzero(proven)],
        [sentence(int(place), "but within chance") for place in np.flatnonzero(fell & ~proven)],
    )


def fallen_classes(
    total: Floats, squares: Floats, images: NDArray[np.int64], params: PromoteParams
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which classes (last axis) fell by more than is allowed, and for which of them that is proven.

    `total` and `squares` sum the change of score, and its square, over a class's images.
    """
    large = images >= params.min_class_images
    z = NormalDist().inv_cdf(1 - (1 - params.confidence) / max(1, int(large.sum())))
    fell = large & (-total > params.max_class_loss * images)
    return fell, fell & (-total > z * np.sqrt(squares))


def broken_limits(judged: Judged, params: PromoteParams) -> list[str]:
    """A sentence for each limit that a model breaks, whatever the champion does."""
    limits = [
        ("latency_p99_ms", params.max_latency_ms, "promote.max_latency_ms"),
        ("size_mb", params.max_size_mb, "promote.max_size_mb"),
        *((name, limit, f"promote.kpis.{name}") for name, limit in params.kpis.items()),
    ]
    broken = [_limit(name, judged.metrics[name], limit, key) for name, limit, key in limits]
    parity = judged.parity
    if parity and wilson(parity.same, parity.images, params.confidence)[1] < parity.required:
        broken.append(
            f"The engine answers as its ONNX file on {parity.same} of {parity.images} images; "
            f"compile.gates asks for a share of {parity.required:g}."
        )
    return [sentence for sentence in broken if sentence]


def lower_is_better(metric: str) -> bool:
    return metric in {"loss", "ece"} or metric.endswith(COSTS)


def _limit(name: str, value: float, limit: float, key: str) -> str:
    if lower_is_better(name):
        return "" if value <= limit else f"{name} is {value:.4g}; {key} allows {limit:g} at most."
    return "" if value >= limit else f"{name} is {value:.4g}; {key} asks for {limit:g} at least."


def _check(challenger: Judged, champion: Judged | None, params: PromoteParams) -> None:
    known = set(challenger.metrics)
    by_image = {name for name in known if not name.endswith(COSTS)}
    wanted = [
        ("promote.metric", params.metric, by_image),
        *((f"promote.kpis.{name}", name, known) for name in params.kpis),
    ]
    for key, name, choice in wanted:
        if name not in choice:
            raise GateError(f"{key}: there is no metric {name!r}; there are {', '.join(sorted(choice))}.")
    if not len(challenger.scores):
        raise GateError("There are no test images to judge on. Add images and run `visionloop run` again.")
    if champion and list(champion.image_ids) != list(challenger.image_ids):
        raise GateError("Challenger and champion were not tested on the same images; they cannot be compared.")


def _in_words(challenger: Judged, champion: Judged, found: Difference, params: PromoteParams) -> str:
    metric, differ = params.metric, int((challenger.scores != champion.scores).sum())
    return (
        f"{metric} is {challenger.metrics[metric]:.4f}, the champion's is {champion.metrics[metric]:.4f}: "
        f"{abs(found.value):.4f} {'better' if found.value >= 0 else 'worse'} "
        f"({params.confidence:.0%} interval {found.low:+.4f} to {found.high:+.4f}) "
        f"on {len(challenger.scores):,} test images, of which they score {differ:,} differently."
    )


def _decide(found: Difference, n: int, params: PromoteParams) -> tuple[Decision, str]:
    if found.low > 0 and found.settles:
        return "promote", "The challenger is better: the whole interval lies above 0."
    if found.low > 0:
        return "not_enough_evidence", f"They differ on fewer than {FEWEST_DISAGREEMENTS} images; that can be luck."
    if found.high < -params.margin:
        return "reject", f"The challenger is worse by more than promote.margin ({params.margin:g})."
    if found.value <= 0:
        return "not_enough_evidence", "The challenger is not better on these images; the champion stays."
    needed = n * ((found.value - found.low) / found.value) ** 2  # an interval narrows with the square root of n
    return "not_enough_evidence", f"To prove a difference this small takes about {needed:,.0f} test images; add labels."
