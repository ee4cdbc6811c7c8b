"""Two samples -> how far apart they are, and how likely so far by chance; the tests that the drift rule rests on.

In: a reference and a window of one signal. Out: distances and p-values. All functions take windows in rows, so that
one call serves one window in production and thousands in `components.monitoring.simulate`: what is measured there is
the code that decides here. What to make of the numbers is `components.monitoring.drift`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_EXPECTED = 5  # images a bin needs in the window for the chi-squared approximation (Cochran 1954)


def kolmogorov_smirnov(reference: Floats, windows: Floats) -> tuple[Floats, Floats]:
    """Statistic and p of the two-sample test of the sorted `reference` (m,) with each sorted row of `windows` (k, n).

    p is the limit distribution with Stephens' correction for finite samples (1970, J. R. Stat. Soc. B 32); ties make
    it conservative.
    """
    m, n = len(reference), windows.shape[1]
    steps = np.arange(n + 1) / n
    above = (steps[1:] - np.searchsorted(reference, windows, "right") / m).max(axis=1)
    below = (np.searchsorted(reference, windows, "left") / m - steps[:-1]).max(axis=1)
    statistic = np.maximum(above, below)
    effective = np.sqrt(m * n / (m + n))
    return statistic, special.kolmogorov((effective + 0.12 + 0.11 / effective) * statistic)


def wasserstein(reference: Floats, windows: Floats) -> Floats:
    """Distance W1 (k,) of the sorted `reference` (m,) from each sorted row of `windows` (k, n): exact, same units."""
    rows, columns, widths = _steps(len(reference), windows.shape[1])
    distance: Floats = np.abs(reference[rows] - windows[:, columns]) @ widths
    return distance


@lru_cache(maxsize=8)
def _steps(m: int, n: int) -> tuple[Ints, Ints, Floats]:
    """Where the quantile functions of samples of `m` and `n` are constant: place in each, and width of the stretch."""
    ends = np.union1d(np.arange(1, m + 1) * n, np.arange(1, n + 1) * m)  # in units of 1 / (m n): whole numbers
    widths = np.diff(ends, prepend=0)
    return (ends - 1) // n, (ends - 1) // m, widths / (m * n)


def bins(reference: Ints, window: Ints) -> Ints:
    """Which bin each category falls into, given its count in both samples: small neighbours share one.

    A bin is full when `MIN_EXPECTED` of the window's images are expected in it; what remains at the end joins the last.
    """
    share = window.sum() / (reference.sum() + window.sum())
    expected = (reference + window) * share
    places, bin_, filled = np.zeros(len(expected), np.int64), 0, 0.0
    left = float(expected.sum())
    for place, value in enumerate(expected):
        places[place] = bin_
        filled, left = filled + value, left - value
        if filled >= MIN_EXPECTED and left >= MIN_EXPECTED:
            bin_, filled = bin_ + 1, 0.0
    return places


def chi_squared(reference: Ints, window: Ints) -> float:
    """p of the two-sample test of counts in the same bins, none empty in both.

    The same as `scipy.stats.chi2_contingency` without Yates' correction. (`scipy.stats.chisquare`, Evidently's default,
    takes the reference's shares for exact: at 1,000 images against 2,000 it alarms falsely 23% of the time.)
    """
    m, n = reference.sum(), window.sum()
    statistic = ((np.sqrt(n / m) * reference - np.sqrt(m / n) * window) ** 2 / (reference + window)).sum()
    return float(special.chdtrc(len(reference) - 1, statistic)) if len(reference) > 1 else 1.0


def total_variation(reference: Ints, window: Ints) -> float:
    """Share of the images, 0..1, that would have to change their bin to make the two samples alike."""
    return float(np.abs(reference / reference.sum() - window / window.sum()).sum() / 2)


def fisher_greater(reference: int, of_reference: int, window: int, of_window: int) -> float:
    """p of Fisher's exact test that the share `window` / `of_window` is not above that of the reference."""
    found = reference + window
    return float(stats.hypergeom.sf(window - 1, of_reference + of_window, found, of_window))
