"""How often the drift rule alarms falsely, and how surely it sees drift: simulated streams, with bounds.

In: how many streams. Out: one `Rate` a promise. A stream is a reference of 2,000 images, ten good windows of 500 to
learn from, and windows to judge, by the very functions that decide in production. Streams are independent of each
other, so that a rate over them is binomial. Columns are too, which makes false alarms most likely. Means, spreads and
skews of the image statistics, and what darkening and blur do to them, were measured on 5,000 images of CIFAR-10.

Three worlds. Just after a promotion no windows are known and the fixed floors hold alone. In the calm world all windows
are drawn from one distribution. In the wobbling one every window, good or drifted, also moves each number by a normal
deviate of 0.1 standard deviations of its own, and the share of each class and format by about a quarter of itself; the
rule has to find that out from the ten windows. A drift of brightness alone is shown there without a promise: a test
that keeps the false alarms of ten such signals under 2% needs 3.1 deviates of sqrt(0.1**2 + 1/500 + 1/2000), so it sees
0.39 standard deviations in one of them in two windows of three at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.tables import STATISTICS
from components.monitoring import drift
from components.monitoring.drift import Measured
from components.monitoring.window import NUMERIC, SIGNALS
from components.params import MonitorParams
from components.registry.intervals import exact_bounds

if TYPE_CHECKING:
    from components.launcher import Launcher

Floats = NDArray[np.float64]
Random = np.random.Generator
REFERENCE, WINDOW, LEARNT, GOOD = 2_000, 500, 10, 3  # images; windows to learn from, good windows to judge
WOBBLE, SHARE_WOBBLE = 0.1, 0.25  # standard deviations; of a share
FALSE_ALARMS, FALSE_ALERTS, POWER = 0.02, 0.005, 0.9  # what is promised
PART = 50  # streams in one call of a worker
SHARES: Mapping[str, Sequence[float]] = {
    "predicted_class": (0.2, 0.17, 0.14, 0.12, 0.1, 0.08, 0.07, 0.05, 0.04, 0.03),
    "format": (0.92, 0.08),
}
# Mean, standard deviation, skew: the shape is that of exp(skew z) with z normal.
NUMBERS: Mapping[str, tuple[float, float, float]] = {
    "confidence": (0.90, 0.10, -0.45),
    "margin": (0.80, 0.18, -0.45),
    "brightness": (0.48, 0.123, 0.1),
    "contrast": (0.20, 0.060, 0.05),
    "sharpness": (0.18, 0.055, 0.12),
    "entropy": (7.0, 0.53, -0.45),
    "saturation": (0.25, 0.147, 0.27),
    "colour_cast": (0.107, 0.087, 0.5),
    "aspect_ratio": (1.3, 0.30, 0.1),
    "bytes_per_pixel": (0.90, 0.053, -0.12),
}
MEAN, SPREAD, SKEW = np.array([NUMBERS[name] for name in NUMERIC]).T
COLUMN = {name: NUMERIC.index(name) for name in NUMERIC}


@dataclass(frozen=True)
class Rate:
    """How often something happened in `streams` streams."""

    world: str
    what: str
    happened: int
    streams: int
    promised: float | None  # most false alarms, least power

    @property
    def rate(self) -> float:
        return self.happened / self.streams

    @property
    def bound(self) -> float:
        """With 95% confidence: the least power, the most false alarms."""
        low, high = exact_bounds(self.happened, self.streams)
        return low if self._is_power else high

    @property
    def kept(self) -> bool:
        """Whether the bound, not the rate alone, keeps what was promised; true where nothing was."""
        if self.promised is None:
            return True
        return self.bound >= self.promised if self._is_power else self.bound <= self.promised

    @property
    def _is_power(self) -> bool:
        return self.what.startswith("seen")

    def __str__(self) -> str:
        side = "at least" if self._is_power else "at most"
        promise = "" if self.promised is None else f"; promised {self.promised:.1%}"
        return f"{self.world}: {self.what}: {self.rate:.2%} ({side} {self.bound:.2%} with 95% confidence{promise})"


def drift_rates(params: MonitorParams, launcher: Launcher, streams: int = 2_000, seed: int = 0) -> list[Rate]:
    """Simulate the three worlds and count. Takes about 30 ms of processor time a stream and world."""
    rates = []
    for world, wobble, learnt in (("just promoted", 0.0, 0), ("calm", 0.0, LEARNT), ("wobbling", 1.0, LEARNT)):
        work = partial(_judged, params=params, wobble=wobble, learnt=learnt, seed=seed)
        parts = [range(first, min(first + PART, streams)) for first in range(0, streams, PART)]
        rates += _counted(world, np.concatenate(list(launcher.map_shards(work, parts))))
    return rates


def _counted(world: str, drifted: NDArray[np.bool_]) -> list[Rate]:
    """Rates of `drifted` (streams, GOOD + drifts, signals)."""
    newest = drifted[:, GOOD - 1]
    again = newest & (drifted[:, :GOOD].sum(axis=1) >= 2)
    rates = [
        Rate(world, "false alarm, one window", _streams(newest), len(drifted), FALSE_ALARMS),
        Rate(world, "false alarm, 2 of 3 windows", _streams(again), len(drifted), FALSE_ALERTS),
    ]
    for place, name in enumerate(DRIFTS, start=GOOD):
        promised = None if (world, name) == UNPROMISED else POWER
        rates.append(Rate(world, f"seen, {name}", _streams(drifted[:, place]), len(drifted), promised))
    return rates


def _streams(drifted: NDArray[np.bool_]) -> int:
    """In how many streams any signal of `drifted` (streams, signals) drifted."""
    return int(drifted.any(axis=1).sum())


def _judged(numbers: range, params: MonitorParams, wobble: float, learnt: int, seed: int) -> NDArray[np.bool_]:
    """Which signals drifted in the windows to judge of these streams: (streams, GOOD + drifts, signals)."""
    return np.stack([_stream(np.random.default_rng([seed, number]), params, wobble, learnt) for number in numbers])


def _stream(random: Random, params: MonitorParams, wobble: float, learnt: int) -> NDArray[np.bool_]:
    measured = _measured(random, wobble, learnt + GOOD)
    history = [{name: each.effect for name, each in window.items()} for window in measured[:learnt]]
    rows = []
    for window in measured[learnt:]:
        limits = drift.floors(history, window, params)
        rows.append([drift.exceeds(each, limits[name], params.alpha / len(window)) for name, each in window.items()])
    return np.array(rows)


def _measured(random: Random, wobble: float, good: int) -> list[dict[str, Measured]]:
    """Windows of one stream as the rule sees them: `good` ones, then the last of them again with each drift."""
    reference = _images(random, 1, REFERENCE, 0.0)[0]
    windows = _images(random, good, WINDOW, wobble)
    changed = np.stack([change(windows[-1].copy(), random) for change in DRIFTS.values()])
    windows = np.concatenate([windows, changed])
    tested = {name: drift.numbers(reference[:, COLUMN[name]], windows[..., COLUMN[name]]) for name in NUMERIC}
    columns = [COLUMN[name] for name in STATISTICS]
    known, base = drift.outlier_base(reference[:, columns])
    rates = drift.outlier_rates(known, windows[..., columns])
    counted = {name: _categories(random, np.array(shares), wobble, good) for name, shares in SHARES.items()}
    found = []
    for place, rate in enumerate(rates):
        window = {name: Measured(p[place], effect[place]) for name, (p, effect) in tested.items()}
        window |= {name: each[min(place, good - 1)] for name, each in counted.items()}
        window["outlier_rate"] = drift.outlier_rise(base, REFERENCE, rate, WINDOW)
        found.append({name: window[name] for name in SIGNALS})
    return found


def _images(random: Random, windows: int, size: int, wobble: float) -> Floats:
    """Statistics (windows, size, numbers) of images; each window's numbers moved by their own part of `wobble`."""
    z = random.standard_normal((windows, size, len(NUMERIC)))
    z += WOBBLE * wobble * random.standard_normal((windows, 1, len(NUMERIC)))
    variance = np.exp(SKEW**2)
    scale = SPREAD * np.sign(SKEW) / np.sqrt(variance * (variance - 1))
    images: Floats = MEAN + scale * (np.exp(SKEW * z) - np.sqrt(variance))
    return images


def _categories(random: Random, shares: Floats, wobble: float, good: int) -> list[Measured]:
    """One categorical signal of the good windows."""
    known = random.multinomial(REFERENCE, shares)
    wobbling = shares * np.exp(SHARE_WOBBLE * wobble * random.standard_normal((good, len(shares))))
    counts = [random.multinomial(WINDOW, each / each.sum()) for each in wobbling]
    return [drift.categories(known, each) for each in counts]


def _scaled(images: Floats, factor: float, *names: str) -> Floats:
    images[:, [COLUMN[name] for name in names]] *= factor
    return images


def _darker_alone(images: Floats, random: Random) -> Floats:  # noqa: ARG001
    return _scaled(images, 0.9, "brightness")


def _darker(images: Floats, random: Random) -> Floats:  # noqa: ARG001
    """Every pixel at 90%: so is all that is measured in luma, and the histogram is log2(0.9) bits narrower."""
    images[:, COLUMN["entropy"]] += np.log2(0.9)
    return _scaled(images, 0.9, "brightness", "contrast", "sharpness", "colour_cast")


def _blurred(images: Floats, random: Random) -> Floats:  # noqa: ARG001
    return _scaled(images, 0.7, "sharpness")


def _some_black(images: Floats, random: Random) -> Floats:
    black = random.random(len(images)) < 0.05
    names = ("brightness", "contrast", "sharpness", "entropy", "saturation", "colour_cast")
    images[black] = _scaled(_scaled(images[black], 0.0, *names), 0.1, "bytes_per_pixel")
    return images


DRIFTS: Mapping[str, Callable[[Floats, Random], Floats]] = {
    "pixels 10% darker": _darker,
    "brightness -10% alone (0.39 sd)": _darker_alone,
    "blur (sharpness x0.7)": _blurred,
    "5% black images": _some_black,
}
UNPROMISED = ("wobbling", "brightness -10% alone (0.39 sd)")
