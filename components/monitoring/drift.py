"""Reference and window -> did production drift, in which signals, how far: the decision, pure.

In: the signals of both, and the effects of earlier good windows. Out: a verdict with p, effect and floor of each
signal (13, and those of the task), and its meaning in words. Evidently shows the evidence but decides nothing: its
defaults alarm falsely in half of all windows and, at report level, miss a brightness 20% lower.

The rule. A signal drifted when two things hold at once:

1. chance does not explain it: p < alpha / number of signals (Bonferroni). Numbers: Kolmogorov-Smirnov; categories:
   chi-squared test of both samples, small classes merged; outlier_rate (share of images with a statistic outside the
   reference's 0.1% to 99.9% range): Fisher's exact test, one-sided. Univariate tests with Bonferroni did best of many
   detectors in Rabanser, Günnemann, Lipton: Failing Loudly (NeurIPS 2019, arXiv:1810.11953).
2. it is more than nature does: effect >= floor. Effect of a number: Wasserstein distance in standard deviations of the
   reference; of a category: total variation distance; of outlier_rate: the rise of the share. The floor is the larger
   of a fixed one (`effect_floor`, `categorical_floor`, of outlier_rate half of that) and, once half of `history` good
   windows are known, what those stayed under (`components.monitoring.wobble`). They are the first good windows after a
   promotion, not the latest: floors that followed the latest would let a slow drift lift its own floor.

One window that drifted is a warning; the same signal in `alert_after` of the last `of_last` windows is an alert. False
alarms and power of all this are measured in `components.monitoring.simulate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.data.tables import STATISTICS
from components.monitoring.two_sample import (
    bins,
    chi_squared,
    fisher_greater,
    kolmogorov_smirnov,
    total_variation,
    wasserstein,
)
from components.monitoring.window import CATEGORICAL, LEAST, Signals
from components.monitoring.wobble import natural_limits
from components.monitoring.words import in_words, outliers_in_words
from components.params import MonitorParams

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RANGE = (0.001, 0.999)  # quantiles of the reference between which an image is no outlier
FOLDS = 10
LARGEST = 99.0  # effects are cut here, so that a reference that never varied gives no infinity
LEAST_REFERENCE = 50  # images


@dataclass(frozen=True)
class SignalDrift:
    """One signal of one window; `effect` has the sign of the change and, as `floor`, the unit of the signal's kind."""

    name: str
    p: float
    effect: float
    floor: float
    drifted: bool
    words: str


@dataclass(frozen=True)
class WindowVerdict:
    verdict: Literal["ok", "warn", "insufficient"]
    signals: list[SignalDrift] = field(default_factory=list)

    @property
    def drifted(self) -> list[SignalDrift]:
        """Those that drifted, the farthest beyond its floor first."""
        return sorted((each for each in self.signals if each.drifted), key=lambda each: -abs(each.effect) / each.floor)


@dataclass(frozen=True)
class Decision:
    verdict: Literal["ok", "warn", "alert", "insufficient"]
    signals: list[str]  # that brought it about, the farthest first


@dataclass(frozen=True)
class Measured:
    """One signal of one window before the rule; `freedom` and `noise` are what `natural_limits` asks for."""

    p: float
    effect: float
    freedom: float = 1.0
    noise: float = 0.0
    words: str = ""


def judge_window(
    reference: Signals, window: Signals, history: Sequence[Mapping[str, float]], params: MonitorParams
) -> WindowVerdict:
    """Judge `window` by itself. `history` holds the effects of earlier good windows of the same size, oldest first."""
    if len(window) < LEAST or len(reference) < LEAST_REFERENCE:
        return WindowVerdict("insufficient")
    measured = measure(reference, window)
    limits, alpha = floors(history, measured, params), params.alpha / len(measured)
    signals = [
        SignalDrift(name, each.p, each.effect, limits[name], exceeds(each, limits[name], alpha), each.words)
        for name, each in measured.items()
    ]
    return WindowVerdict("warn" if any(each.drifted for each in signals) else "ok", signals)


def decide(recent: Sequence[WindowVerdict], params: MonitorParams) -> Decision:
    """What the last windows (newest last) come to: alert when one signal drifted in `alert_after` of `of_last`."""
    if not recent or recent[-1].verdict == "insufficient":
        return Decision("insufficient", [])
    drifted = [{each.name for each in verdict.drifted} for verdict in recent[-params.of_last :]]
    newest = [each.name for each in recent[-1].drifted]
    repeated = [name for name in newest if sum(name in names for names in drifted) >= params.alert_after]
    if repeated:
        return Decision("alert", repeated)
    return Decision("warn" if newest else "ok", newest)


def good_windows(verdicts: Sequence[WindowVerdict], params: MonitorParams) -> list[int]:
    """Places of the windows (oldest first) to learn natural variation from.

    Those in which nothing drifted, and those whose drift did not last: none of its signals drifted in a window less
    than `of_last` before or after. Without the latter, wobble would be learnt only from windows that wobbled little.
    """
    drifted = [{each.name for each in verdict.drifted} for verdict in verdicts]
    reach = params.of_last - 1
    good = []
    for place, names in enumerate(drifted):
        around = drifted[max(0, place - reach) : place] + drifted[place + 1 : place + 1 + reach]
        over = place + reach < len(drifted)
        if not names or (over and not any(names & other for other in around)):
            good.append(place)
    return good


def measure(reference: Signals, window: Signals) -> dict[str, Measured]:
    """p and effect of every signal, in the order of `Signals.names`, and what they mean in words."""
    found = {name: _number(values, window.numeric[name]) for name, values in reference.numeric.items()}
    found |= {name: _category(reference.categorical[name], window.categorical[name]) for name in CATEGORICAL}
    found = {name: replace(each, words=in_words(name, reference, window)) for name, each in found.items()}
    known, base = outlier_base(_statistics(reference))
    rate = float(outlier_rates(known, _statistics(window)[None])[0])
    rise = outlier_rise(base, len(reference), rate, len(window))
    found["outlier_rate"] = replace(rise, words=outliers_in_words(base, rate))
    return {name: found[name] for name in reference.names}


def exceeds(found: Measured, floor: float, alpha: float) -> bool:
    """The rule for one signal; `alpha` is its share of the false alarms."""
    return found.p < alpha and abs(found.effect) >= floor


def floors(
    history: Sequence[Mapping[str, float]], measured: Mapping[str, Measured], params: MonitorParams
) -> dict[str, float]:
    """The effect each signal must reach: the fixed floor, or what good windows stay under once enough are known."""
    fixed = {name: _fixed_floor(name, params) for name in measured}
    good = history[: params.history]
    if len(good) < max(2, params.history // 2):
        return fixed
    natural = natural_limits(
        effects=np.array([[each.get(name, 0.0) for name in measured] for each in good]),
        now=np.array([each.effect for each in measured.values()]),
        freedom=np.array([each.freedom for each in measured.values()]),
        noise=np.array([each.noise for each in measured.values()]),
        pooled=np.array([name not in (*CATEGORICAL, "outlier_rate") for name in measured]),
        multiple=params.wobble_multiple,
    )
    return {name: max(fixed[name], float(limit)) for name, limit in zip(measured, natural, strict=True)}


def _fixed_floor(name: str, params: MonitorParams) -> float:
    if name == "outlier_rate":
        return params.categorical_floor / 2  # rarer than a class: of good images about 2% are outliers
    return params.categorical_floor if name in CATEGORICAL else params.effect_floor


def numbers(reference: Floats, windows: Floats) -> tuple[Floats, Floats]:
    """p and effect (k,) of one signal in each row of `windows` (k, n), against `reference` (m,); all finite."""
    known, ordered = np.sort(reference), np.sort(windows, axis=1)
    _, p = kolmogorov_smirnov(known, ordered)
    sign = np.where(ordered.mean(axis=1) < known.mean(), -1.0, 1.0)
    return p, sign * np.minimum(wasserstein(known, ordered) / spread(known), LARGEST)


def spread(reference: Floats) -> float:
    """Standard deviation; of a reference that never varied a thousandth of its size, so that effects stay finite."""
    return max(float(reference.std()), 1e-3 * float(np.abs(reference).mean()), 1e-6)


def categories(reference: Ints, window: Ints) -> Measured:
    """p and total variation distance of the counts of the same categories, none empty in both; small ones merged."""
    places = bins(reference, window)
    known, found = (np.bincount(places, counts).astype(np.int64) for counts in (reference, window))
    effective = 1 / ((known / known.sum()) ** 2).sum()  # number of categories (inverse Simpson index)
    return Measured(chi_squared(known, found), total_variation(known, found), freedom=max(1.0, effective - 1))


def outlier_base(columns: Floats) -> tuple[Floats, float]:
    """The range (2, columns) of the reference images in `columns` (m, columns), and the share of images outside it.

    The share is counted by tenths, each in the range of the other nine: in the range that they span themselves there
    would be too few, and each good window would seem to have more.
    """
    fold = np.arange(len(columns)) % FOLDS
    outside = [outlier_rates(_range(columns[fold != each]), columns[None, fold == each])[0] for each in range(FOLDS)]
    return _range(columns), float(np.mean(outside))


def outlier_rates(known: Floats, windows: Floats) -> Floats:
    """Share (k,) of the images of `windows` (k, n, columns) with any column outside `known` (2, columns)."""
    rates: Floats = ((windows < known[0]) | (windows > known[1])).any(axis=2).mean(axis=1)
    return rates


def outlier_rise(base: float, of_reference: int, rate: float, of_window: int) -> Measured:
    """p and effect of the share `rate` of a window against the reference's `base`."""
    p = fisher_greater(round(base * of_reference), of_reference, round(rate * of_window), of_window)
    return Measured(p, rate - base, noise=base * (1 - base) * (1 / of_reference + 1 / of_window))


def _range(columns: Floats) -> Floats:
    return np.quantile(columns, RANGE, axis=0, method="weibull")  # of a new image just 0.1% lie beyond each side


def _statistics(signals: Signals) -> Floats:
    return np.stack([signals.numeric[name] for name in STATISTICS], axis=1)


def _number(reference: Floats, window: Floats) -> Measured:
    reference, window = reference[np.isfinite(reference)], window[np.isfinite(window)]
    if not len(reference) or not len(window):
        return Measured(1.0, 0.0)
    p, effect = numbers(reference, window[None])
    return Measured(float(p[0]), float(effect[0]))


def _category(reference: NDArray[np.str_], window: NDArray[np.str_]) -> Measured:
    names, places = np.unique(np.concatenate([reference, window]), return_inverse=True)
    known, found = np.split(places, [len(reference)])
    return categories(np.bincount(known, minlength=len(names)), np.bincount(found, minlength=len(names)))
