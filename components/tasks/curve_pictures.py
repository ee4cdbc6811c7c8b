"""Precision against recall, drawn: a curve for each class, and where its threshold puts it.

In: a ranking of images, and the rows of `per_class`. Out: PNG bytes, equal for equal input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.tasks import ClassRow
from components.tasks.curves import Ranking, precision_and_recall
from components.tasks.pictures import png_of, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 20  # classes; the ones with the most images are drawn


def draw_precision_recall(ranking: Ranking, rows: Sequence[ClassRow]) -> bytes:
    """`rows` have class, images, ap, precision and recall, in the order of the columns of `ranking`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    shown = [place for place, row in enumerate(rows) if row["images"]]
    for place in sorted(sorted(shown, key=lambda place: -float(rows[place]["images"]))[:MOST]):
        _curve(axes, ranking, place, rows[place])
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title="dots: at the thresholds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5")
    if shown:
        legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="average precision")
        for text in legend.get_texts():
            text.set_parse_math(False)
    return png_of(figure)


def _curve(axes: Axes, ranking: Ranking, place: int, row: ClassRow) -> None:
    recall, precision = precision_and_recall(ranking, place)
    name = f"{float(row['ap']):.3f} {shortened(str(row['class']))}"
    [line] = axes.step(recall, precision, where="pre", label=name)
    axes.plot(float(row["recall"]), float(row["precision"]), "o", color=line.get_color())
