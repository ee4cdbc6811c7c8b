"""What was found in overlapping tiles of a large picture -> one answer for the picture.

In: windows of `components.data.tiling`, and a `Prediction` for each of them. Out: one `Prediction`. An object on a seam
is found whole in one tile and in part in its neighbours: the parts are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.data.tiling import Window
from components.tasks import Detection, Floats, Prediction
from components.tasks.matching import overlaps

DOUBLE = 0.5  # IoU from which two answers of one class are of one object
PART = 0.6  # of a box that ends at a seam must lie in a surer one, or in a whole one, to be a part of it
SEAM = 0.01  # of the side of a tile: a box that ends this near its edge is thought to be cut there


def joined(predictions: Sequence[Prediction], windows: Sequence[Window], size: tuple[int, int]) -> Prediction:
    """The prediction for a picture of `size` (width, height), boxes in shares of the whole picture.

    `predictions` belong to `windows`, each brought to the model's square by stretching. Probabilities are the highest
    of any tile, confidence is that of what stays, margin the lowest.
    """
    placed = [
        (_placed(each, window, size), _is_cut(each, window, size))
        for prediction, window in zip(predictions, windows, strict=True)
        for each in prediction.detections or ()
    ]
    kept = _without_doubles(placed)
    best = {name: max(each.probabilities[name] for each in predictions) for name in predictions[0].probabilities}
    sure = [each.confidence for each in kept]
    return Prediction(
        " + ".join(sorted({each.label for each in kept})) or "none",
        float(np.mean(sure)) if sure else 1 - max(best.values(), default=0.0),
        min(each.margin for each in predictions),
        best,
        tuple(kept),
        signals=_signals(kept),
    )


def _placed(found: Detection, window: Window, size: tuple[int, int]) -> Detection:
    width, height = window.size
    left, top, right, bottom = found.box
    return Detection(
        found.label,
        type(found.box)(
            (window.left + left * width) / size[0],
            (window.top + top * height) / size[1],
            (window.left + right * width) / size[0],
            (window.top + bottom * height) / size[1],
        ),
        found.confidence,
    )


def _is_cut(found: Detection, window: Window, size: tuple[int, int]) -> bool:
    """Whether the box ends at an edge of its tile that is no edge of the picture."""
    left, top, right, bottom = found.box
    return (
        (left < SEAM and window.left > 0)
        or (top < SEAM and window.top > 0)
        or (right > 1 - SEAM and window.right < size[0])
        or (bottom > 1 - SEAM and window.bottom < size[1])
    )


def _without_doubles(placed: Sequence[tuple[Detection, bool]]) -> list[Detection]:
    """Whole boxes first, then the surest: each drops the doubles and the parts of itself that come after it."""
    ranked = sorted(placed, key=lambda each: (each[1], -each[0].confidence))
    boxes = np.array([each.box for each, _ in ranked], dtype=np.float64).reshape(-1, 4)
    cut = np.array([is_cut for _, is_cut in ranked], dtype=np.bool_)
    names = np.array([each.label for each, _ in ranked])
    covered = (overlaps(boxes, boxes) > DOUBLE) | ((_parts(boxes) > PART) & cut[None, :])
    covered &= names[:, None] == names[None, :]
    alive = np.ones(len(ranked), dtype=np.bool_)
    for place in range(len(ranked)):
        if alive[place]:
            alive[place + 1 :] &= ~covered[place, place + 1 :]
    return sorted((ranked[place][0] for place in np.flatnonzero(alive)), key=lambda each: -each.confidence)


def _parts(boxes: Floats) -> Floats:
    """(M, M): which share of the second box lies in the first."""
    corner = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    opposite = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray((opposite - corner).clip(0).prod(axis=2) / np.maximum(areas, 1e-12)[None, :])


def _signals(kept: Sequence[Detection]) -> dict[str, float]:
    areas = [(each.box.right - each.box.left) * (each.box.bottom - each.box.top) for each in kept]
    return {"objects": float(len(kept)), "box_area": float(np.mean(areas)) if areas else 0.0}
