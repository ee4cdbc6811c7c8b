"""Confidence intervals of proportions and differences, each with its source; the gate and its simulation use them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000
BISECTIONS = 45  # halvings of [-1, 1]: ends are exact to 1e-13


def paired_interval(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Both ends of the interval of the difference of two paired proportions, elementwise.

    `gained` images are right for the first model only, `lost` for the second only, of `n` images. Tango's score
    interval (Statistics in Medicine 17, 1998): the ends are where the score statistic reaches the normal quantile; it
    falls as the difference grows, so bisection finds them. The lower end is above 0 just when McNemar's test rejects.
    """
    b, c, images = (np.asarray(value, dtype=np.float64) for value in np.broadcast_arrays(gained, lost, n))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return _lower_end(b, c, images, z), -_lower_end(c, b, images, z)


def _lower_end(b: Floats, c: Floats, n: Floats, z: float) -> Floats:
    """The smallest difference that `b` and `c` do not contradict."""
    low, high = np.full(b.shape, -1.0), (b - c) / n
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        contradicted = _statistic(b, c, n, middle) > z
        low, high = np.where(contradicted, middle, low), np.where(contradicted, high, middle)
    return high


def _statistic(b: Floats, c: Floats, n: Floats, difference: Floats) -> Floats:
    """Tango's score statistic of the hypothesis that the first model is better by `difference`."""
    linear = -b - c + (2 * n - b + c) * difference
    constant = -c * difference * (1 - difference)
    lost = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)  # its likeliest probability
    variance = n * (2 * lost + difference * (1 - difference))
    return np.asarray((b - c - n * difference) / np.sqrt(np.maximum(variance, 1e-300)))


def bootstrap(n: int, statistic: Callable[[NDArray[np.intp]], float], confidence: float) -> tuple[float, float]:
    """Percentile interval (Efron and Tibshirani 1993, chapter 13) of `statistic` of the places of n images.

    RESAMPLES draws with replacement, always the same ones, so that equal input gives an equal verdict.
    """
    random = np.random.default_rng(0)
    values = [statistic(random.integers(0, n, n)) for _ in range(RESAMPLES)]
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def wilson(hits: int, n: int, confidence: float) -> tuple[float, float]:
    """Both ends of Wilson's score interval (1927) of a proportion; 0 and 1 when there was no trial."""
    if not n:
        return 0.0, 1.0
    share, z2 = hits / n, NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    return float((share + z2 / (2 * n) - half) / (1 + z2 / n)), float((share + z2 / (2 * n) + half) / (1 + z2 / n))


def exact_bounds(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's one-sided bounds (1934) of a proportion, each right with `confidence` for any n."""
    from scipy.stats import beta

    low = float(beta.ppf(1 - confidence, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(confidence, hits + 1, n - hits)) if hits < n else 1.0
