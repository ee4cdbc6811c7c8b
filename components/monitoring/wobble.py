"""Earlier good windows -> how far a window of each signal strays when nothing is wrong.

In: the effects (distances from the reference) of good windows, and of the window to judge, all of one size. Out: for
each signal the effect that a good window stays under. This is a null distribution of windows, not of images: images of
one hour share their light, their subjects and their sender, so tests that take images for independent alarm at every
change of weather (with a natural wobble of 0.1 standard deviations, in nine windows of ten).

Method. A good window's effect is taken for a normal deviate around 0. Its variance is the mean square of the earlier
effects, and so holds all that is natural, once: the wobble, the sampling of window and reference, a steady offset
between the two. Ten windows know a variance badly (95%: 0.7 to 1.75 times the standard deviation), therefore

- signals in `pooled` borrow strength from each other, by the empirical Bayes of Smyth (2004, Stat. Appl. Genet. Mol.
  Biol. 3:3, "limma"): alike signals act as one estimate, unlike ones hardly at all;
- where the variance that sampling alone gives is known (`noise`), only the rest is estimated;
- `multiple` standard deviations are turned into the F quantile of the same tail probability, which is wider the
  fewer windows stand behind the variance (the t quantile, for a signal of one degree of freedom). A categorical signal
  of d + 1 bins strays in d directions at once: the F quantile with d degrees of freedom knows how far.

Signals that move together need to move less: when the pooled signals' mean square, in natural variances, is beyond its
own natural limit, each limit falls to two thirds (a protected test, as Fisher's least significant difference). A camera
that goes 10% darker moves brightness by 0.4 standard deviations and contrast, sharpness and entropy by 0.3 each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
MOST = 1e6  # degrees of freedom that count as infinitely many
JOINT_MULTIPLE = 2.5  # standard deviations: this test alone raises no alarm, so it may be less strict
PROTECTED = 2 / 3


def natural_limits(
    effects: Floats, now: Floats, freedom: Floats, noise: Floats, pooled: NDArray[np.bool_], multiple: float
) -> Floats:
    """The effect that a good window exceeds as rarely as a normal deviate does `multiple` standard deviations.

    `effects` (windows, signals) of good windows, at least two; `now` (signals,) of the window to judge; `freedom`
    (signals,) degrees of freedom, at least 1; `noise` (signals,) variance by sampling alone, 0 where it is not known;
    `pooled` (signals,) which ones borrow from each other. Result (signals,): 0 for a signal that never moved.
    """
    variances, knowledge = (effects**2).mean(axis=0), freedom * len(effects)
    moving = pooled & (variances > 0)
    if moving.sum() > 1:
        variances[moving], knowledge[moving] = _shrunk(variances[moving], len(effects))
    tail = 2 * special.ndtr(-multiple)
    wobble = np.maximum(variances - noise, 0)
    limits: Floats = np.sqrt(
        noise * special.chdtri(freedom, tail) / freedom + wobble * special.fdtri(freedom, knowledge, 1 - tail)
    )
    if moving.sum() > 1 and _move_together(effects[:, moving], now[moving], variances[moving]):
        limits[moving] *= PROTECTED
    return limits


def _shrunk(variances: Floats, windows: int) -> tuple[Floats, float]:
    """Variances drawn to their common one, and the degrees of freedom they then have (Smyth 2004, section 6.2)."""
    half = windows / 2
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - special.polygamma(1, half)
    prior = min(2 * _inverse_trigamma(excess), MOST) if excess > 0 else MOST
    common = variances.mean() if prior == MOST else np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * common + windows * variances) / (prior + windows), prior + windows


def _inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = `value`, by the Newton steps of Smyth (2004), which never overshoot."""
    x = 0.5 + 1 / value
    for _ in range(20):
        trigamma = special.polygamma(1, x)
        x += trigamma * (1 - trigamma / value) / special.polygamma(2, x)
    return float(x)


def _move_together(effects: Floats, now: Floats, variances: Floats) -> bool:
    """Whether the mean square of `now` (signals,) is beyond that of good `effects` (windows, signals)."""
    typical = (effects**2 / variances).mean()
    directions = _directions(effects)
    likely = 1 - 2 * special.ndtr(-JOINT_MULTIPLE)
    limit = typical * special.fdtri(directions, directions * len(effects), likely)
    return bool((now**2 / variances).mean() > limit)


def _directions(effects: Floats) -> float:
    """How many independent signals the ones in `effects` are worth: fewer when windows move them together.

    The degrees of freedom of a mean of squares whose deviates have the mean squared correlation `shared` (Satterthwaite
    1946); of independent ones, chance alone makes it 1 / windows.
    """
    windows, signals = effects.shape
    unit = effects / np.sqrt((effects**2).sum(axis=0))
    shared = ((unit.T @ unit)[np.triu_indices(signals, 1)] ** 2).mean() - 1 / windows
    return float(signals / (1 + (signals - 1) * max(shared, 0.0)))
