"""Multi-label classification: any number of classes an image, none included. Logits -> predictions and metrics.

In: float32 logits (N, C) and float32 targets (N, C) of 0 and 1. Out: flat metric names: map_multilabel (the mean over
classes of average precision), micro_f1, macro_f1, exact, loss. A class is answered from its own threshold of
probability on, which `tuned` sets on validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, LabelError, labels_in, labels_text
from components.tasks import ClassRow, Floats, Head, Logits, Places, Prediction, TargetKind, Targets, TaskError
from components.tasks.classification import widen
from components.tasks.curves import MIDDLE, average_precision, best_thresholds, costs, logit, ranked, sigmoid

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.dataset import ImageSet
    from components.params import EvaluateParams, TrainParams
    from components.tasks.losses import Loss

NOTHING = "none"  # how an answer without classes reads


@dataclass(frozen=True)
class Multilabel:
    name: str = "multilabel"
    head: Head = "classifier"
    target_kind: TargetKind = "classes"
    primary: str = "map_multilabel"
    selection: str = "loss"
    exact: str | None = "exact"
    class_metric: str = "ap"
    signals: tuple[str, ...] = ("classes_answered",)
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def label_of(self, said: Annotation) -> str:
        """The labels of the whole image, or the classes of its objects, or of its areas, all as `labels_text`."""
        for found in (said.labels, _kinds(said), said.areas):
            if found is not None:
                return labels_text(found)
        raise LabelError("no_label", "found no labels, objects or areas; expected labels of the image, or [] for none")

    def check(self, label: str, size: tuple[int, int]) -> str:  # noqa: ARG002
        return labels_text(labels_in(label))

    def shown(self, label: str) -> tuple[str, ...]:
        return labels_in(label)

    def targets(self, images: ImageSet, classes: Sequence[str]) -> Targets:
        """float32 (N, C): 1 where the image shows the class; raise TaskError for a label that is not in `classes`."""
        place = {name: index for index, name in enumerate(classes)}
        named = [labels_in(label) for label in images.labels]
        unknown = sorted({name for names in named for name in names} - place.keys())
        if unknown:
            raise TaskError(
                f"Label(s) {', '.join(map(repr, unknown[:5]))} are not among the model's {len(classes)} classes. "
                "Train again: `visionloop run`."
            )
        wanted = np.zeros((len(named), len(classes)), dtype=np.float32)
        for row, names in enumerate(named):
            wanted[row, [place[name] for name in names]] = 1
        return wanted

    def counts(self, targets: Targets, classes: int) -> NDArray[np.int64]:  # noqa: ARG002
        return np.asarray((targets > 0.5).sum(axis=0), dtype=np.int64)

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
        """`train.loss` over all classes of the batch; "auto" is binary cross-entropy."""
        return _loss_named(params.loss)(outputs, targets, weights, params)

    def tuned(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Multilabel:
        """With the threshold of each class that has the highest F1 on these images; 0.5 where none shows it."""
        found = best_thresholds(sigmoid(outputs), targets).tolist()
        return replace(self, thresholds=dict(zip(classes, found, strict=True)))

    def decode(self, outputs: Logits, classes: Sequence[str]) -> list[Prediction]:
        """One prediction a row of `outputs` (N, C); its margin is the way to the nearest threshold of any class."""
        limits = self._limits(classes)
        return [_prediction(row, limits, classes) for row in sigmoid(outputs)]

    def answered(self, prediction: Prediction, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> str:  # noqa: ARG002
        """The classes that were answered."""
        found = prediction.probabilities.items()
        return labels_text(name for name, value in found if value >= self.thresholds.get(name, MIDDLE))

    def metrics(
        self,
        outputs: Logits,
        targets: Targets,
        classes: Sequence[str],
        params: EvaluateParams,  # noqa: ARG002
    ) -> dict[str, float]:
        """map_multilabel and macro_f1 over the classes that occur; micro_f1; exact (all classes right); loss (nats)."""
        _check(outputs, targets, classes)
        hits, shown, answered = self._sums(outputs, targets, classes)
        return {
            "map_multilabel": _mean(average_precision(ranked(outputs, targets))),
            "micro_f1": float(_f1(hits.sum(), shown.sum(), answered.sum())),
            "macro_f1": _mean(np.where(shown > 0, _f1(hits, shown, answered), np.nan)),
            "exact": float((self.scores(outputs, targets, classes) == 1).mean()),
            "loss": float(costs(outputs, targets).mean()),
        }

    def per_class(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class: class, images, base_rate, ap (of a guess: base_rate), precision, recall, f1, threshold."""
        hits, shown, answered = self._sums(outputs, targets, classes)
        columns: dict[str, Floats] = {
            "base_rate": shown / max(len(targets), 1),
            "ap": np.nan_to_num(average_precision(ranked(outputs, targets))),
            "precision": hits / np.maximum(answered, 1),
            "recall": hits / np.maximum(shown, 1),
            "f1": _f1(hits, shown, answered),
            "threshold": self._limits(classes),
        }
        return [
            {"class": name, "images": int(shown[place]), **{key: float(each[place]) for key, each in columns.items()}}
            for place, name in enumerate(classes)
        ]

    def scores(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N,): share of the classes about which the answer is right: the mean of the image's class scores."""
        return np.asarray(self.class_scores(outputs, targets, classes).mean(axis=1))

    def class_scores(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> Floats:
        """float64 (N, C) without NaN: 1 where the answer about a class is right, be it that it is not there."""
        return np.asarray(self._answered(outputs, classes) == (targets > 0.5), dtype=np.float64)

    def measure(
        self, metric: str, outputs: Logits, targets: Targets, classes: Sequence[str], params: EvaluateParams
    ) -> Callable[[Places], float] | None:
        if metric != self.primary:
            return lambda at: self.metrics(outputs[at], targets[at], classes, params)[metric]
        ranking = ranked(outputs, targets)
        return lambda at: _mean(average_precision(ranking, np.bincount(at, minlength=len(targets))))

    def agreement(self, one: Logits, other: Logits, classes: Sequence[str]) -> Floats:
        """(N,): share of the classes about which both answer the same."""
        same = self._answered(one, classes) == self._answered(other, classes)
        return np.asarray(same.mean(axis=1), dtype=np.float64)

    def widen(self, outputs: Logits, own: Sequence[str], classes: Sequence[str]) -> Logits:
        return widen(outputs, own, classes)

    def baselines(self, train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Logits]:
        """How often each class occurs, for every image; and a line through small pictures."""
        from components.tasks.baselines import linear

        seen = self.targets(train, classes)
        prior = np.tile(seen.mean(axis=0), (len(test), 1))
        return {"prior": logit(prior), "linear": logit(linear(train.pixels, seen, test.pixels))}

    def pictures(
        self, images: ImageSet, outputs: Logits, targets: Targets, classes: Sequence[str], most: int
    ) -> dict[str, bytes]:
        """Precision against recall of each class; and the images about which the most is wrong."""
        from components.tasks.curve_pictures import draw_precision_recall
        from components.tasks.pictures import draw_captioned

        answers, scores = self.decode(outputs, classes), self.scores(outputs, targets, classes)
        worst = sorted(np.flatnonzero(scores < 1).tolist(), key=lambda row: (scores[row], -answers[row].confidence))
        captions = [f"{_said(labels_in(images.labels[row]))}\n→ {answers[row].label}" for row in worst[:most]]
        return {
            "precision_recall": draw_precision_recall(
                ranked(outputs, targets), self.per_class(outputs, targets, classes)
            ),
            "mistakes": draw_captioned(images.pixels[worst[:most]], captions, nothing="no mistakes"),
        }

    def _limits(self, classes: Sequence[str]) -> Floats:
        """(C,): the threshold of each class, MIDDLE for one that has none."""
        return np.array([self.thresholds.get(name, MIDDLE) for name in classes], dtype=np.float64)

    def _answered(self, outputs: Logits, classes: Sequence[str]) -> NDArray[np.bool_]:
        """(N, C): which classes are answered."""
        return sigmoid(outputs) >= self._limits(classes)

    def _sums(self, outputs: Logits, targets: Targets, classes: Sequence[str]) -> tuple[Floats, Floats, Floats]:
        """(C,) each: images in which a class is rightly answered, in which it is, and in which it is answered."""
        wanted, answered = targets > 0.5, self._answered(outputs, classes)
        counts = [each.sum(axis=0, dtype=np.float64) for each in (wanted & answered, wanted, answered)]
        return counts[0], counts[1], counts[2]


def _loss_named(name: str) -> Loss:
    from components.tasks import losses

    known: dict[str, Loss] = {
        "auto": losses.bce,
        "bce": losses.bce,
        "focal": losses.sigmoid_focal,
        "asymmetric": losses.asymmetric,
    }
    if name not in known:
        raise TaskError(f"`train.loss: {name}` is no loss of multilabel; set it to one of {', '.join(known)}.")
    return known[name]


def _prediction(row: Floats, limits: Floats, classes: Sequence[str]) -> Prediction:
    answered = row >= limits
    return Prediction(
        label=_said([name for name, there in zip(classes, answered, strict=True) if there]),
        confidence=float(row[answered].mean() if answered.any() else 1 - row.max()),
        margin=float(np.abs(row - limits).min()),
        probabilities=dict(zip(classes, row.tolist(), strict=True)),
        signals={"classes_answered": float(answered.sum())},
    )


def _said(names: Sequence[str]) -> str:
    return " + ".join(names) or NOTHING


def _kinds(said: Annotation) -> list[str] | None:
    return None if said.things is None else [thing.label for thing in said.things]


def _f1(hits: Floats, shown: Floats, answered: Floats) -> Floats:
    return np.asarray(2 * hits / np.maximum(shown + answered, 1))


def _mean(values: Floats) -> float:
    """Over those that are numbers; 0 where none is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else 0.0


def _check(outputs: Logits, targets: Targets, classes: Sequence[str]) -> None:
    if outputs.shape != (len(targets), len(classes)) or not len(targets):
        raise TaskError(
            f"Logits are {outputs.shape}; expected ({len(targets)}, {len(classes)}) and at least one image."
        )
    broken = int((~np.isfinite(outputs)).any(axis=1).sum())
    if broken:
        raise TaskError(
            f"Logits of {broken} of {len(outputs)} images are not finite; the model or its engine is broken."
        )
