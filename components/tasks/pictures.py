"""What a person looks at after a training: loss curves, the confusion matrix, captioned images; each a PNG as bytes.

In: plain numbers, names and pixels. Out: PNG bytes, equal for equal input. Names come from users: they are shortened,
never read as formulas, and letters that the font lacks are drawn as boxes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#3565a8", "#d9772b", "#666666"
MANY = 20  # classes; a larger confusion matrix shows no numbers
TOO_MANY = 60  # classes; a larger one shows no names either


def draw_history(history: Sequence[Mapping[str, float]], kept: int) -> bytes:
    """Loss of train and val, and the val metric, by epoch; the epoch that was `kept` (from 0) is marked."""
    from matplotlib.figure import Figure

    epochs = np.arange(1, len(history) + 1)
    metric = next(name for name in history[0] if name.startswith("val/") and name != "val/loss")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour in (("train/loss", GREY), ("val/loss", BLUE)):
        _line(left, epochs, [epoch[name] for epoch in history], name, colour)
    _line(right, epochs, [epoch[metric] for epoch in history], metric, BLUE)
    for axes, name in ((left, "val/loss"), (right, metric)):
        axes.plot(kept + 1, history[kept][name], "o", color=ORANGE, label=f"kept: {history[kept][name]:.4g}")
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
    return png_of(figure)


def draw_confusion(table: NDArray[np.int64], classes: Sequence[str], title: str) -> bytes:
    """`table` (C, C) counts images by true class (row) and answer (column); colour is the share of the row."""
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(4.0 + 0.32 * count, 14.0)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="answer", ylabel="truth")
    names = [shortened(name) for name in classes] if count <= TOO_MANY else []
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    if count <= MANY:
        for truth, answer in np.argwhere(table):
            colour = "white" if shares[truth, answer] > 0.5 else "black"
            axes.text(answer, truth, f"{table[truth, answer]:,}", ha="center", va="center", color=colour, fontsize=8)
    return png_of(figure)


def draw_captioned(pixels: NDArray[np.uint8], captions: Sequence[str], nothing: str) -> bytes:
    """`pixels` (N, 3, S, S) in a grid, under each its caption, line by line; the word `nothing` where N is 0."""
    from matplotlib.figure import Figure

    columns = min(8, max(len(captions), 3))
    rows = max(math.ceil(len(captions) / columns), 1)
    figure = Figure(figsize=(1.5 * columns, 2.05 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    if not captions:
        figure.text(0.5, 0.5, nothing, ha="center", va="center", color=GREY)
    for axes, image, caption in zip(grid, pixels, captions, strict=False):
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        text = "\n".join(shortened(line, 20) for line in caption.split("\n"))
        axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", fontsize=8, parse_math=False)
    return png_of(figure)


def _line(axes: Axes, x: NDArray[np.int64], y: Sequence[float], name: str, colour: str) -> None:
    axes.plot(x, y, color=colour, label=name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5")
    axes.locator_params(axis="x", integer=True)


def shortened(name: str, most: int = 16) -> str:
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def png_of(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=".*[Mm]atplotlib currently does not support .* natively")
        figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return buffer.getvalue()
