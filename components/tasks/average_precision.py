"""COCO's average precision of found boxes, matched by pycocotools once and then summed for any choice of images.

In: what was found in each image, and targets (N, K, 7). Out: `AveragePrecision`, which tells AP and recall of all
images or of images at given places with repeats, as a bootstrap draws them: boxes are matched within an image, so that
only the sums over images change. Sizes (small, medium, large) are those of COCO, in px of the original pictures.
-1 stands for the mean of nothing, as in pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from components.tasks import Floats, Places
from components.tasks.boxes import AREA, CLASS, CROWD, EMPTY
from components.tasks.detector_outputs import Found

Metric = Literal["map", "map50", "map75", "map_small", "map_medium", "map_large", "mar"]
METRICS: tuple[Metric, ...] = ("map", "map50", "map75", "map_small", "map_medium", "map_large", "mar")
SIZES = ("all", "small", "medium", "large")  # pycocotools' own, under 32 x 32 px and under 96 x 96 px
RECALLS = np.linspace(0, 1, 101)  # where precision is read off
OVERLAPS = np.linspace(0.5, 0.95, 10)  # IoU
MOST = 100  # boxes an image that are counted


@dataclass(frozen=True)
class Matches:
    """Of one class and one range of sizes: every box that was found in any image, the surest first."""

    images: NDArray[np.intp]  # (D,)
    hits: NDArray[np.bool_]  # (10, D): by IoU, whether it has a true box
    misses: NDArray[np.bool_]  # (10, D): whether it has none; neither is true of crowds and of other sizes
    truths: NDArray[np.int64]  # (N,): true boxes in each image

    def summed(self, counts: NDArray[np.int64], rows: slice) -> tuple[Floats, Floats] | None:
        """AP and recall by IoU, `counts` (N,) times each image; None without a true box."""
        total = int(counts @ self.truths)
        if not total:
            return None
        weights = counts[self.images]
        hits = np.cumsum(self.hits[rows] * weights, axis=1)
        answers = hits + np.cumsum(self.misses[rows] * weights, axis=1)
        precision = hits / np.maximum(answers, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return _mean_precision(envelope, hits / total), hits[:, -1:].sum(axis=1) / total


class AveragePrecision:
    """`found` and `targets` belong together image by image; `classes` is their number."""

    def __init__(
        self, found: Sequence[Found], targets: NDArray[np.float32], classes: int, sizes: Sequence[str] = SIZES
    ) -> None:
        self._images = len(found)
        self._matches = _matched(found, targets, classes, sizes)

    def mean(self, metric: Metric, places: Places | None = None) -> float:
        """`metric` of the images at `places` (by default of all): the mean over the classes that have boxes there."""
        counts = np.bincount(np.arange(self._images) if places is None else places, minlength=self._images)
        size = metric.removeprefix("map_") if metric.startswith("map_") else "all"
        rows = {"map50": slice(0, 1), "map75": slice(5, 6)}.get(metric, slice(0, 10))
        sums = [each.summed(counts, rows) for each in self._matches[size]]
        values = [each[metric == "mar"].mean() for each in sums if each is not None]
        return float(np.mean(values)) if values else -1.0

    def of_classes(self) -> list[tuple[float, float]]:
        """AP over all IoUs, and at IoU 0.5, of each class; -1 for a class without boxes."""
        sums = [each.summed(np.ones(self._images, dtype=np.int64), slice(0, 10)) for each in self._matches["all"]]
        return [(-1.0, -1.0) if each is None else (float(each[0].mean()), float(each[0][0])) for each in sums]


def _mean_precision(envelope: Floats, recall: Floats) -> Floats:
    """(T,): the mean of the precision at RECALLS; 0 from the recall on that is never reached."""
    means = np.zeros(len(recall))
    for row, (precision, reached) in enumerate(zip(envelope, recall, strict=True)):
        first = np.searchsorted(reached, RECALLS)
        means[row] = precision[first[first < len(reached)]].sum() / len(RECALLS)
    return means


def _matched(
    found: Sequence[Found], targets: NDArray[np.float32], classes: int, sizes: Sequence[str]
) -> Mapping[str, list[Matches]]:
    from pycocotools.cocoeval import COCOeval

    sides = np.sqrt(targets[:, 0, AREA].astype(np.float64))  # of a square with the area of the original's
    with _nothing_printed():
        judge = COCOeval(_true(targets, sides, classes), _found(found, sides, classes), "bbox")
        judge.params.maxDets = [MOST]
        kept = [judge.params.areaRngLbl.index(size) for size in sizes]
        judge.params.areaRng = [judge.params.areaRng[place] for place in kept]
        judge.evaluate()
    # By class, then size, then image; None where the class is neither in the image nor found there.
    cells = np.array([*judge.evalImgs, None], dtype=object)[:-1].reshape(classes, len(sizes), len(found))
    return {size: [_matches(cells[place, at]) for place in range(classes)] for at, size in enumerate(sizes)}


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """pycocotools prints its progress; inside a flow `print` is a log, which redirecting stdout does not reach."""
    from pycocotools import coco, cocoeval

    with patch.object(coco, "print", _ignore, create=True), patch.object(cocoeval, "print", _ignore, create=True):
        yield


def _ignore(*_: object, **__: object) -> None:
    return None


def _matches(cells: NDArray[np.object_]) -> Matches:
    """What pycocotools says of one class and size, image by image, as one table sorted by score."""
    truths = np.array([0 if cell is None else int((cell["gtIgnore"] == 0).sum()) for cell in cells], dtype=np.int64)
    said = [(image, cell) for image, cell in enumerate(cells) if cell is not None]
    scores = np.array([score for _, cell in said for score in cell["dtScores"]])
    order = np.argsort(-scores, kind="stable")
    images = np.array([image for image, cell in said for _ in cell["dtScores"]], dtype=np.intp)
    matched = _joined([cell["dtMatches"] > 0 for _, cell in said])
    counted = ~_joined([cell["dtIgnore"].astype(np.bool_) for _, cell in said])
    return Matches(images[order], (matched & counted)[:, order], (~matched & counted)[:, order], truths)


def _joined(tables: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros((len(OVERLAPS), 0), dtype=np.bool_), *tables], axis=1)


def _true(targets: NDArray[np.float32], sides: Floats, classes: int) -> Any:
    rows = [
        _row(image, row[:4] * sides[image], int(row[CLASS])) | {"iscrowd": int(row[CROWD])}
        for image, target in enumerate(targets.astype(np.float64))
        for row in target[target[:, CLASS] != EMPTY]
    ]
    return _coco(rows, len(targets), classes)


def _found(found: Sequence[Found], sides: Floats, classes: int) -> Any:
    rows = [
        _row(image, box * sides[image], int(place)) | {"iscrowd": 0, "score": float(score)}
        for image, each in enumerate(found)
        for box, place, score in zip(each.boxes, each.classes, each.scores, strict=True)
    ]
    return _coco(rows, len(found), classes)


def _row(image: int, box: Floats, place: int) -> dict[str, Any]:
    left, top, right, bottom = box.tolist()
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": place, "bbox": [left, top, width, height], "area": width * height}


def _coco(rows: list[dict[str, Any]], images: int, classes: int) -> Any:
    """A pycocotools data set in memory; ids of boxes count from 1, since 0 stands for no match."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": place} for place in range(classes)],
        "annotations": [row | {"id": number} for number, row in enumerate(rows, start=1)],
    }
    coco.createIndex()
    return coco
