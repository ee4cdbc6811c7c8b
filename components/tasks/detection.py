"""Object detection: where which objects are in an image, told in boxes.

In: outputs (N, A, 7 + C) as `detector_outputs` describes them, targets (N, K, 7) as `boxes` makes them. Out: objects
above a threshold of their class, drawn if wished; COCO's average precision over all that was found, whatever its score
(map, map50, map75, map_small, map_medium, map_large, mar), image_f1 at the thresholds, and loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, Box, LabelError, Thing, things_in, things_text
from components.tasks import (
    ClassRow,
    Detection,
    Floats,
    Head,
    Outputs,
    Places,
    Prediction,
    TargetKind,
    Targets,
    TaskError,
)
from components.tasks.average_precision import METRICS, AveragePrecision
from components.tasks.boxes import CLASS, asked, targets_of, to_pixels
from components.tasks.detector_outputs import LOGITS, Found, found_in
from components.tasks.hits import ANSWERED, ASKED, HIT, best_limits, common, f1, tallies

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.dataset import ImageSet
    from components.params import EvaluateParams, TrainParams

NEVER = -1e9  # logit of a class that a model does not know: probability 0
LEAST = 0.01  # score of what counts in average precision
USUAL = 0.5  # threshold of a class that none was tuned for
DOUBTFUL = 0.5  # of its threshold: an object above that is a near miss, and lowers the margin
NOTHING = "none"  # label of an image in which nothing was found
PART = 64  # images whose loss is computed at once
GAMMA = 2.0  # of the quality focal loss


@dataclass(frozen=True)
class ObjectDetection:
    name: str = "detection"
    head: Head = "detector"
    target_kind: TargetKind = "boxes"
    primary: str = "map"
    selection: str = "map"
    exact: str | None = None
    class_metric: str = "ap"
    signals: tuple[str, ...] = ("objects", "box_area")
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def label_of(self, said: Annotation) -> str:
        """The objects as a text; raise LabelError where the source says nothing of objects."""
        if said.things is None:
            raise LabelError("no_boxes", "no boxes are given; expected a list of objects, empty for a background")
        return things_text(said.things, said.size)

    def check(self, label: str, size: tuple[int, int]) -> str:
        return things_text(things_in(label), size)

    def shown(self, label: str) -> tuple[str, ...]:
        return tuple(sorted({thing.label for thing in things_in(label)}))

    def targets(self, images: ImageSet, classes: Sequence[str]) -> Targets:
        """(N, K, 7) as `boxes.targets_of` describes them."""
        return targets_of(images, classes)

    def counts(self, targets: Targets, classes: int) -> NDArray[np.int64]:
        return np.array([(targets[..., CLASS] == place).any(axis=1).sum() for place in range(classes)], dtype=np.int64)

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
        """Quality focal loss (`loss: focal` with `gamma`) or cross-entropy (`loss: bce`) of classes, GIoU of boxes."""
        from components.tasks.detector_loss import detector_loss

        gammas = {"auto": GAMMA, "focal": params.gamma, "bce": 0.0}
        if params.loss not in gammas:
            raise TaskError(f"train.loss is {params.loss!r}; detection takes {', '.join(gammas)}.")
        return detector_loss(outputs, targets, weights, gammas[params.loss])

    def tuned(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> ObjectDetection:
        """By class the threshold of the highest F1 at IoU 0.5, half way to the next lower score."""
        _check(outputs, targets, classes)
        limits = best_limits(found_in(outputs, LEAST), targets, len(classes), USUAL)
        return replace(self, thresholds=dict(zip(classes, limits.tolist(), strict=True)))

    def decode(self, outputs: Outputs, classes: Sequence[str]) -> list[Prediction]:
        limits = self._limits(classes)
        found = found_in(outputs, max(LEAST, DOUBTFUL * float(limits.min())))
        return [_prediction(each, limits, classes) for each in found]

    def metrics(
        self,
        outputs: Outputs,
        targets: Targets,
        classes: Sequence[str],
        params: EvaluateParams,  # noqa: ARG002
    ) -> dict[str, float]:
        """COCO's seven (-1 where there are no objects of a size), image_f1 and loss (as in training, unweighted)."""
        _check(outputs, targets, classes)
        judged = AveragePrecision(found_in(outputs, LEAST), targets, len(classes))
        costs, quality = _losses(outputs, targets)
        return {
            **{metric: judged.mean(metric) for metric in METRICS},
            "image_f1": float(self.scores(outputs, targets, classes).mean()),
            "loss": float(costs.sum() / max(quality.sum(), 1)),
        }

    def per_class(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class: class, images, objects, ap, ap50; precision, recall and f1 at its threshold, IoU 0.5."""
        _check(outputs, targets, classes)
        found, images = found_in(outputs, LEAST), self.counts(targets, len(classes))
        precisions = AveragePrecision(found, targets, len(classes), sizes=("all",)).of_classes()
        limits = self._limits(classes)
        sums = tallies([each.above(limits) for each in found], targets, len(classes)).sum(axis=0)
        rows = zip(classes, images.tolist(), precisions, sums, strict=True)
        return [_row(name, count, each, tally) for name, count, each, tally in rows]

    def scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N,): F1 of the objects of an image at the thresholds, IoU 0.5; 1 where none is and none was found."""
        sums = tallies(self._answers(outputs, classes), targets, len(classes)).sum(axis=1)
        return np.where(sums[:, ANSWERED:].any(axis=1), f1(sums), 1.0)

    def class_scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N, C): the same by class, NaN where it is neither shown nor found."""
        each = tallies(self._answers(outputs, classes), targets, len(classes))
        return np.where(each[..., ANSWERED:].any(axis=2), f1(each), np.nan)

    def measure(
        self,
        metric: str,
        outputs: Outputs,
        targets: Targets,
        classes: Sequence[str],
        params: EvaluateParams,  # noqa: ARG002
    ) -> Callable[[Places], float] | None:
        if metric == "image_f1":
            return None
        if metric == "loss":
            costs, quality = _losses(outputs, targets)
            return lambda at: float(costs[at].sum() / max(quality[at].sum(), 1))
        if metric not in METRICS:
            raise TaskError(f"There is no metric {metric!r}; detection has {', '.join(METRICS)}, image_f1 and loss.")
        size = metric.removeprefix("map_") if metric.startswith("map_") else "all"
        judged = AveragePrecision(found_in(outputs, LEAST), targets, len(classes), sizes=(size,))
        return partial(judged.mean, metric)

    def agreement(self, one: Outputs, other: Outputs, classes: Sequence[str]) -> Floats:
        """(N,): twice the objects that both found, by those of either; 1 where neither found any."""
        mine, theirs = (self._answers(outputs, classes) for outputs in (one, other))
        return np.array([common(*pair) for pair in zip(mine, theirs, strict=True)])

    def answered(self, prediction: Prediction, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> str:
        """The objects found, in px of the image."""
        found = prediction.detections or ()
        return things_text([Thing(each.label, to_pixels(each.box, size, fit)) for each in found if _has_area(each.box)])

    def widen(self, outputs: Outputs, own: Sequence[str], classes: Sequence[str]) -> Outputs:
        wide = np.full((*outputs.shape[:2], LOGITS + len(classes)), NEVER, dtype=np.float32)
        wide[..., :LOGITS] = outputs[..., :LOGITS]
        wide[..., [LOGITS + list(classes).index(name) for name in own]] = outputs[..., LOGITS:]
        return wide

    def baselines(self, train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Outputs]:  # noqa: ARG002
        """None: boxes laid without looking find next to nothing."""
        return {}

    def pictures(
        self, images: ImageSet, outputs: Outputs, targets: Targets, classes: Sequence[str], most: int
    ) -> dict[str, bytes]:
        """The best, the worst and some other images, each with the boxes found and, dashed, those asked for."""
        from components.tasks.drawing import draw_detections, sheet

        scores, answers = self.scores(outputs, targets, classes), self.decode(outputs, classes)
        ranked = np.argsort(scores, kind="stable")
        some = np.random.default_rng(0).permutation(len(scores))
        chosen = {"worst": ranked[:most], "best": ranked[::-1][:most], "random": some[:most]}

        def drawn(row: int) -> NDArray[np.uint8]:
            true = [
                Detection(classes[int(each[CLASS])], Box(*each[:4].tolist()), 1.0)
                for each in targets[row][asked(targets[row])]
            ]
            return draw_detections(images.pixels[row], answers[row].detections or (), classes, true)

        return {
            name: sheet([drawn(row) for row in rows], [f"F1 {scores[row]:.2f}" for row in rows])
            for name, rows in chosen.items()
        }

    def _limits(self, classes: Sequence[str]) -> Floats:
        """(C,): the thresholds in the order of `classes`."""
        return np.array([self.thresholds.get(name, USUAL) for name in classes])

    def _answers(self, outputs: Outputs, classes: Sequence[str]) -> list[Found]:
        limits = self._limits(classes)
        return [found.above(limits) for found in found_in(outputs, max(LEAST, float(limits.min())))]


def _has_area(box: Box) -> bool:
    return box.right > box.left and box.bottom > box.top


def _check(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> None:
    expected = (len(targets), LOGITS + len(classes))
    if outputs.ndim != 3 or (outputs.shape[0], outputs.shape[2]) != expected or not len(targets):
        raise TaskError(
            f"Outputs are {outputs.shape}; expected ({expected[0]}, rows, {expected[1]}) and at least one image."
        )
    if broken := int((~np.isfinite(outputs)).any(axis=(1, 2)).sum()):
        raise TaskError(f"Outputs of {broken} of {len(outputs)} images are not finite; the model is broken.")


def _losses(outputs: Outputs, targets: Targets) -> tuple[Floats, Floats]:
    """Two (N,): cost and quality of each image, as `detector_loss.losses_of_images` gives them."""
    import torch

    from components.tasks.detector_loss import losses_of_images

    parts = []
    for start in range(0, len(outputs), PART):
        said, true = (torch.from_numpy(np.array(each[start : start + PART])) for each in (outputs, targets))
        parts.append(torch.stack(losses_of_images(said, true, None, GAMMA)).double().numpy())
    costs, quality = np.concatenate(parts, axis=1)
    return costs, quality


def _row(name: str, images: int, precisions: tuple[float, float], tally: Floats) -> ClassRow:
    hit, answered, asked_for = tally[HIT], tally[ANSWERED], tally[ASKED]
    return {
        "class": name,
        "images": images,
        "objects": int(asked_for),
        "ap": max(precisions[0], 0.0),
        "ap50": max(precisions[1], 0.0),
        "precision": float(hit / max(answered, 1)),
        "recall": float(hit / max(asked_for, 1)),
        "f1": float(f1(tally)),
    }


def _prediction(found: Found, limits: Floats, classes: Sequence[str]) -> Prediction:
    """`found` also holds near misses, under the thresholds."""
    answered = found.above(limits)
    detections = tuple(
        Detection(classes[place], Box(*box), score)
        for place, box, score in zip(answered.classes, answered.boxes.tolist(), answered.scores.tolist(), strict=True)
    )
    best = np.zeros(len(classes))
    np.maximum.at(best, found.classes, found.scores)
    surest = float(best.max(initial=0.0))
    gaps = np.abs(found.scores - limits[found.classes])
    areas = (answered.boxes[:, 2:] - answered.boxes[:, :2]).prod(axis=1)
    return Prediction(
        " + ".join(sorted({each.label for each in detections})) or NOTHING,
        float(answered.scores.mean()) if detections else 1 - surest,
        float(gaps.min(initial=limits.min())),
        dict(zip(classes, best.tolist(), strict=True)),
        detections,
        signals={"objects": float(len(detections)), "box_area": float(areas.mean()) if detections else 0.0},
    )
