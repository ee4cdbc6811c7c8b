"""Classification: exactly one class an image. Logits -> predictions and metrics.

In: float32 logits (N, C) and int64 targets (N,), classes in sorted order. Out: flat metric names that are the same in
every stage, `status` and MLflow: top1, top5, macro_f1, mean_class_accuracy, ece, loss. Averages over classes are over
the classes that have images, so that an absent class neither helps nor hurts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.tasks import ClassRow, Logits, Prediction, Targets, TaskError

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor


@dataclass(frozen=True)
class Classification:
    name: str = "classification"
    primary: str = "top1"

    def classes(self, labels: pa.Table) -> tuple[str, ...]:
        """All labels of the table, sorted; their place is the index of their logit."""
        return tuple(sorted(set(labels.column("label").to_pylist())))

    def targets(self, labels: Sequence[str], classes: Sequence[str]) -> Targets:
        """int64 (N,): the place of each label in `classes`; raise TaskError for a label that is not there."""
        place = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(labels) - place.keys())
        if unknown:
            raise TaskError(
                f"Label(s) {', '.join(map(repr, unknown[:5]))} are not among the model's {len(classes)} classes. "
                "Train again: `visionloop run`."
            )
        return np.array([place[label] for label in labels], dtype=np.int64)

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        """Mean cross-entropy of (N, C) logits; `weights` (C,) counts a class more or less."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)

    def decode(self, logits: Logits, classes: Sequence[str]) -> list[Prediction]:
        """One prediction a row of `logits` (N, C)."""
        probabilities = softmax(logits)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")
        return [_prediction(row, order, classes) for row, order in zip(probabilities, ranked, strict=True)]

    def metrics(
        self, logits: Logits, targets: Targets, classes: Sequence[str], topk: int = 5, bins: int = 15
    ) -> dict[str, float]:
        """top1, top`topk`, macro_f1, mean_class_accuracy, ece (`bins` bins) and loss (nats, unsmoothed)."""
        _check(logits, targets, classes)
        rows = [row for row in self.per_class(logits, targets, classes) if row["images"]]
        probabilities = softmax(logits)
        truth = probabilities[np.arange(len(targets)), targets]
        return {
            "top1": float(self.scores(logits, targets).mean()),
            f"top{topk}": float((_rank(logits, targets) < topk).mean()),
            "macro_f1": float(np.mean([row["f1"] for row in rows])),
            "mean_class_accuracy": float(np.mean([row["recall"] for row in rows])),
            "ece": calibration_error(probabilities, targets, bins),
            "loss": float(-np.log(np.maximum(truth, 1e-12)).mean()),
        }

    def per_class(self, logits: Logits, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class: class, images, precision, recall, f1; a ratio of nothing is 0."""
        table = confusion(logits, targets, len(classes))
        hits = np.diag(table).astype(float)
        images, answered = table.sum(axis=1), table.sum(axis=0)
        precision, recall = hits / np.maximum(answered, 1), hits / np.maximum(images, 1)
        f1 = 2 * hits / np.maximum(images + answered, 1)
        columns = zip(classes, images, precision, recall, f1, strict=True)
        return [
            {"class": name, "images": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
            for name, count, p, r, f in columns
        ]

    def scores(self, logits: Logits, targets: Targets) -> NDArray[np.float64]:
        """float64 (N,): 1 where the answer is right, else 0."""
        return np.asarray(logits.argmax(axis=1) == targets, dtype=np.float64)

    def agreement(self, one: Logits, other: Logits) -> NDArray[np.bool_]:
        """bool (N,): whether both answer the same class."""
        return np.asarray(one.argmax(axis=1) == other.argmax(axis=1))


def softmax(logits: Logits) -> NDArray[np.float64]:
    """float64 (N, C) probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def confusion(logits: Logits, targets: Targets, classes: int) -> NDArray[np.int64]:
    """int64 (C, C): images by true class (row) and answered class (column)."""
    cells = np.bincount(targets * classes + logits.argmax(axis=1), minlength=classes * classes)
    return cells.reshape(classes, classes)


def calibration_error(probabilities: NDArray[np.float64], targets: Targets, bins: int) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over `bins` steps of confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    step = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(step, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def _rank(logits: Logits, targets: Targets) -> NDArray[np.int64]:
    """How many classes are ranked above the true one; of equal logits the lower class is first."""
    truth = logits[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(logits.shape[1]) < targets[:, None]
    return np.asarray(((logits > truth) | ((logits == truth) & earlier)).sum(axis=1))


def _prediction(row: NDArray[np.float64], order: NDArray[np.int64], classes: Sequence[str]) -> Prediction:
    first, second = row[order[0]], row[order[1]]
    by_class = dict(zip(classes, row.tolist(), strict=True))
    return Prediction(classes[order[0]], float(first), float(first - second), by_class)


def _check(logits: Logits, targets: Targets, classes: Sequence[str]) -> None:
    if logits.shape != (len(targets), len(classes)) or not len(targets):
        raise TaskError(f"Logits are {logits.shape}; expected ({len(targets)}, {len(classes)}) and at least one image.")
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise TaskError(
            f"Logits of {broken} of {len(logits)} images are not finite; the model or its engine is broken."
        )
