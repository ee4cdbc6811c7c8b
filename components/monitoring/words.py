"""A signal of reference and window -> one sentence for an operator: what changed, by how much, in how many images.

In: both samples. Out: plain text, which may hold class names as people gave them: who shows it escapes it. Whether the
change matters is `components.monitoring.drift`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from components.monitoring.window import Signals

Floats = NDArray[np.float64]
NAMED = 3  # categories in one sentence
STEADY = 0.05  # standard deviations: a mean that moved less has stayed
# What images of a lower and of a higher value are.
WORDS = {
    "confidence": ("answered less confidently", "answered more confidently"),
    "margin": ("less clear-cut", "more clear-cut"),
    "brightness": ("darker", "brighter"),
    "contrast": ("flatter", "richer in contrast"),
    "sharpness": ("blurrier", "sharper"),
    "entropy": ("plainer", "busier"),
    "saturation": ("paler", "more colourful"),
    "colour_cast": ("more neutral in colour", "more tinted"),
    "aspect_ratio": ("narrower", "wider"),
    "bytes_per_pixel": ("more compressed", "less compressed"),
}
OTHERS = ("lower in it", "higher in it")  # signals of one task


def in_words(name: str, reference: Signals, window: Signals) -> str:
    """Such as "brightness fell by 31%, 2.4 sd; 87% of images are darker than the reference median"."""
    if name in reference.categorical:
        return _category(name, reference.categorical[name], window.categorical[name])
    return _number(name, reference.numeric[name], window.numeric[name])


def outliers_in_words(base: float, rate: float) -> str:
    """The share of outliers among the reference images and now."""
    change = "rose" if rate >= base else "fell"
    return f"outlier rate {change} from {base:.1%} to {rate:.1%} of images (a statistic beyond 99.8% of the reference)"


def _number(name: str, reference: Floats, window: Floats) -> str:
    known, now = reference[np.isfinite(reference)], window[np.isfinite(window)]
    title = name.replace("_", " ")
    if not len(known) or not len(now):
        return f"{title} has no values to compare"
    change, middle, spread = float(now.mean() - known.mean()), np.median(known), float(known.std())
    if spread and abs(change) < STEADY * spread:
        more = float(now.std()) / spread - 1
        return f"{title} varies {abs(more):.0%} {'less' if more < 0 else 'more'} around the same mean"
    share = float((now < middle if change < 0 else now > middle).mean())
    return (
        f"{title} {'fell' if change < 0 else 'rose'} {_by(change, known)}; "
        f"{share:.0%} of images are {WORDS.get(name, OTHERS)[change >= 0]} than the reference median"
    )


def _by(change: float, known: Floats) -> str:
    """The change of the mean, relative and in standard deviations of the reference, where these exist."""
    mean, spread = float(known.mean()), float(known.std())
    parts = [f"by {abs(change / mean):.0%}"] if mean else [f"by {abs(change):.3g}"]
    parts += [f"{abs(change) / spread:.1f} sd"] if spread > 1e-6 * abs(mean) else ["where it never varied before"]
    return ", ".join(parts)


def _category(name: str, reference: NDArray[np.str_], window: NDArray[np.str_]) -> str:
    """The categories whose share changed most."""
    before, after = (Counter(values.tolist()) for values in (reference, window))
    shares = {each: (before[each] / len(reference), after[each] / len(window)) for each in before | after}
    moved = sorted(shares, key=lambda each: (-abs(shares[each][1] - shares[each][0]), each))[:NAMED]
    changes = [
        f"“{each}” {'fell' if now < was else 'rose'} from {was:.0%} to {now:.0%}"
        for each, (was, now) in ((each, shares[each]) for each in moved)
        if was != now
    ]
    return f"{name.replace('_', ' ')}: {', '.join(changes) or 'no change'}"
