"""Classification: exactly one class an image. Logits -> predictions and metrics.

In: float32 logits (N, C) and int64 targets (N,), classes in sorted order. Out: flat metric names that are the same in
every stage, `status` and MLflow: top1, top5, macro_f1, mean_class_accuracy, ece, loss. Averages over classes are over
the classes that have images, so that an absent class neither helps nor hurts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, LabelError
from components.tasks import ClassRow, Floats, Head, Logits, Places, Prediction, TargetKind, Targets, TaskError

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.dataset import ImageSet
    from components.params import EvaluateParams, TrainParams

LONGEST = 200  # letters of a label
NEVER = -1e9  # logit of a class that a model does not know: probability 0


@dataclass(frozen=True)
class Classification:
    name: str = "classification"
    head: Head = "classifier"
    target_kind: TargetKind = "classes"
    primary: str = "top1"
    selection: str = "loss"
    exact: str | None = "top1"
    class_metric: str = "recall"
    signals: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def label_of(self, said: Annotation) -> str:
        """The one label that the source gives; raise LabelError for none or several."""
        if said.labels is None or len(said.labels) != 1:
            found = "no label of the whole image" if not said.labels else f"labels {', '.join(said.labels[:5])}"
            raise LabelError("no_label" if not said.labels else "many_labels", f"{found}; expected exactly one")
        return said.labels[0]

    def check(self, label: str, size: tuple[int, int]) -> str:  # noqa: ARG002
        if len(label) > LONGEST:
            raise LabelError("bad_label", f"a label of {len(label)} letters; at most {LONGEST} are kept")
        return label

    def shown(self, label: str) -> tuple[str, ...]:
        return (label,)

    def targets(self, images: ImageSet, classes: Sequence[str]) -> Targets:
        """int64 (N,): the place of each label in `classes`; raise TaskError for a label that is not there."""
        place = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(images.labels) - place.keys())
        if unknown:
            raise TaskError(
                f"Label(s) {', '.join(map(repr, unknown[:5]))} are not among the model's {len(classes)} classes. "
                "Train again: `visionloop run`."
            )
        return np.array([place[label] for label in images.labels], dtype=np.int64)

    def counts(self, targets: Targets, classes: int) -> NDArray[np.int64]:
        return np.bincount(targets, minlength=classes)

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
        """Mean cross-entropy of (N, C) logits, or with `loss: focal` its focal form (Lin et al. 2017)."""
        from torch.nn.functional import cross_entropy

        smoothing = params.label_smoothing
        if params.loss != "focal":
            return cross_entropy(outputs, targets, weight=weights, label_smoothing=smoothing)
        each = cross_entropy(outputs, targets, weight=weights, label_smoothing=smoothing, reduction="none")
        certainty = (-cross_entropy(outputs.detach(), targets, reduction="none")).exp()
        return (each * (1 - certainty) ** params.gamma).mean()

    def tuned(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Classification:  # noqa: ARG002
        return self

    def decode(self, outputs: Logits, classes: Sequence[str]) -> list[Prediction]:
        """One prediction a row of `outputs` (N, C)."""
        probabilities = softmax(outputs)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")
        return [_prediction(row, order, classes) for row, order in zip(probabilities, ranked, strict=True)]

    def metrics(
        self, outputs: Logits, targets: Targets, classes: Sequence[str], params: EvaluateParams
    ) -> dict[str, float]:
        """top1, top`topk`, macro_f1, mean_class_accuracy, ece and loss (nats, unsmoothed)."""
        _check(outputs, targets, classes)
        rows = [row for row in self.per_class(outputs, targets, classes) if row["images"]]
        probabilities = softmax(outputs)
        truth = probabilities[np.arange(len(targets)), targets]
        return {
            "top1": float(self.scores(outputs, targets, classes).mean()),
            f"top{params.topk}": float((_rank(outputs, targets) < params.topk).mean()),
            "macro_f1": float(np.mean([row["f1"] for row in rows])),
            "mean_class_accuracy": float(np.mean([row["recall"] for row in rows])),
            "ece": calibration_error(probabilities, targets, params.calibration_bins),
            "loss": float(-np.log(np.maximum(truth, 1e-12)).mean()),
        }

    def per_class(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class: class, images, precision, recall, f1; a ratio of nothing is 0."""
        table = confusion(outputs, targets, len(classes))
        hits = np.diag(table).astype(float)
        images, answered = table.sum(axis=1), table.sum(axis=0)
        precision, recall = hits / np.maximum(answered, 1), hits / np.maximum(images, 1)
        f1 = 2 * hits / np.maximum(images + answered, 1)
        columns = zip(classes, images, precision, recall, f1, strict=True)
        return [
            {"class": name, "images": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
            for name, count, p, r, f in columns
        ]

    def scores(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Floats:  # noqa: ARG002
        """float64 (N,): 1 where the answer is right, else 0."""
        return np.asarray(outputs.argmax(axis=1) == targets, dtype=np.float64)

    def class_scores(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Floats:
        """float64 (N, C): the score in the column of the true class."""
        table = np.full((len(targets), len(classes)), np.nan)
        table[np.arange(len(targets)), targets] = self.scores(outputs, targets, classes)
        return table

    def measure(
        self, metric: str, outputs: Logits, targets: Targets, classes: Sequence[str], params: EvaluateParams
    ) -> Callable[[Places], float] | None:
        if metric == self.primary:
            return None
        return lambda at: self.metrics(outputs[at], targets[at], classes, params)[metric]

    def agreement(self, one: Logits, other: Logits, classes: Sequence[str]) -> Floats:  # noqa: ARG002
        """(N,): 1 where both answer the same class."""
        return np.asarray(one.argmax(axis=1) == other.argmax(axis=1), dtype=np.float64)

    def answered(self, prediction: Prediction, size: tuple[int, int], fit: str) -> str:  # noqa: ARG002
        return prediction.label

    def widen(self, outputs: Logits, own: Sequence[str], classes: Sequence[str]) -> Logits:
        return widen(outputs, own, classes)

    def baselines(self, train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Logits]:
        """The largest class for every image, and a line through small pictures."""
        from components.tasks.baselines import linear, majority

        seen = self.targets(train, classes)
        wanted = np.eye(len(classes), dtype=np.float32)[seen]
        return {"majority": majority(wanted, len(test)), "linear": linear(train.pixels, wanted, test.pixels)}

    def pictures(
        self, images: ImageSet, outputs: Logits, targets: Targets, classes: Sequence[str], most: int
    ) -> dict[str, bytes]:
        """The confusion matrix, and the wrong answers that the model was surest of."""
        from components.tasks.pictures import draw_captioned, draw_confusion

        answers, scores = self.decode(outputs, classes), self.scores(outputs, targets, classes)
        worst = sorted(np.flatnonzero(scores == 0).tolist(), key=lambda row: -answers[row].confidence)[:most]
        captions = [f"{images.labels[row]}\n→ {answers[row].label} {answers[row].confidence:.0%}" for row in worst]
        title = f"{len(targets):,} test images, {self.primary} {scores.mean():.3f}"
        return {
            "confusion": draw_confusion(confusion(outputs, targets, len(classes)), classes, title),
            "mistakes": draw_captioned(images.pixels[worst], captions, nothing="no mistakes"),
        }


def softmax(logits: Logits) -> Floats:
    """float64 (N, C) probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def widen(logits: Logits, own: Sequence[str], classes: Sequence[str]) -> Logits:
    """`logits` (N, own, ...) as (N, classes, ...): the classes that the model does not have can never win."""
    wide = np.full((len(logits), len(classes), *logits.shape[2:]), NEVER, dtype=np.float32)
    wide[:, [list(classes).index(name) for name in own]] = logits
    return wide


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
