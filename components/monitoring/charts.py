"""Reference and window -> one picture of the signals that moved most.

In: `Signals` of both and the names to draw, most drifted first. Out: PNG bytes for a mail, an artifact or a page.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.monitoring.window import Signals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY, ORANGE = "#8b949e", "#d9730d"
MOST = 4  # panels
CLASSES = 10  # bars of a categorical signal


def drift_chart(reference: Signals, window: Signals, names: Sequence[str]) -> bytes | None:
    """PNG of up to four distributions, reference in grey against the window in orange; None with nothing to draw."""
    from matplotlib.figure import Figure

    drawn = [name for name in names if name in reference.numeric or name in reference.categorical][:MOST]
    if not drawn:
        return None
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.2 * rows), layout="constrained")
    for axis, name in zip(figure.subplots(rows, columns, squeeze=False).flat, drawn, strict=False):
        _numbers(axis, reference, window, name) if name in reference.numeric else _words(axis, reference, window, name)
        axis.set_title(name.replace("_", " "), fontsize=10, loc="left")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.set_yticks([])
        axis.tick_params(labelsize=8)
    figure.legend(["reference", "now"], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _numbers(axis: Axes, reference: Signals, window: Signals, name: str) -> None:
    both = [signals.numeric[name][np.isfinite(signals.numeric[name])] for signals in (reference, window)]
    everything = np.concatenate(both)
    low, high = np.quantile(everything, (0.002, 0.998)) if len(everything) else (0.0, 1.0)
    edges = np.linspace(low, high, 31)
    for values, colour in zip(both, (GREY, ORANGE), strict=True):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axis.hist(values, bins=edges.tolist(), weights=weights, color=colour, alpha=0.65)


def _words(axis: Axes, reference: Signals, window: Signals, name: str) -> None:
    counts = [Counter(signals.categorical[name].tolist()) for signals in (reference, window)]
    words = [word for word, _ in (counts[0] + counts[1]).most_common(CLASSES)]
    for count, colour, shift in zip(counts, (GREY, ORANGE), (-0.2, 0.2), strict=True):
        shares = [count[word] / max(sum(count.values()), 1) for word in words]
        axis.bar(np.arange(len(words)) + shift, shares, width=0.4, color=colour)
    axis.set_xticks(range(len(words)), [_tick(word) for word in words], rotation=45 if len(words) > 5 else 0)


def _tick(word: str) -> str:
    """A label as matplotlib shows it, short and without its mathematics."""
    return (word if len(word) <= 12 else word[:11] + "…").replace("$", r"\$")
