"""A proof, drawn: what made images change, ratio by ratio and class by class, with intervals.

In: a `Proof`. Out: PNG bytes, equal for equal input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.synthesis.evidence import Difference
from components.synthesis.findings import Proof
from components.tasks.pictures import png_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 20  # classes; those that change most are drawn
COLOURS = {"helps": "#009e73", "hurts": "#d55e00", "no evidence": "#777777"}


def draw_proof(proof: Proof) -> bytes:
    """Left the whole for each ratio, right the classes at the ratio that did best."""
    from matplotlib.figure import Figure

    best = max(proof.findings, key=lambda each: each.difference.low)
    classes = sorted(best.classes, key=lambda each: -abs(each.difference.value))[:MOST]
    figure = Figure(figsize=(10, max(3.5, 0.3 * len(classes) + 1.5)), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"{each.ratio:.3g} ({each.made:,} made)" for each in proof.findings]
    _intervals(left, names, [each.difference for each in proof.findings])
    left.set(title=f"change of {proof.metric}", ylabel="made / real images")
    _intervals(right, [each.name for each in classes], [each.difference for each in classes])
    right.set(title=f"score of each class, ratio {best.ratio:.3g}")
    return png_of(figure)


def _intervals(axes: Axes, names: Sequence[str], found: Sequence[Difference]) -> None:
    """One line a name, the first on top."""
    for row, each in enumerate(found):
        colour = COLOURS[each.verdict]
        axes.plot([each.low, each.high], [row, row], color=colour, linewidth=2)
        axes.plot(each.value, row, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), [shortened(name) for name in names], parse_math=False)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5")
