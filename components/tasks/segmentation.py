"""Segmentation: exactly one class for each pixel, but where the source says nothing. Logits -> class maps and metrics.

In: float32 logits (N, C, s, s), coarser than the image by the net's stride, and uint8 targets (N, S, S), 255 where a
pixel is not judged. Out: flat metric names: miou, dice, pixel_accuracy, mean_class_accuracy, loss. All are judged on
the square of S px, the logits enlarged to it, from one table an image of true against answered classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, areas_in
from components.tasks import ClassRow, Floats, Head, Outputs, Places, Prediction, TargetKind, Targets, TaskError
from components.tasks.areas import IGNORED, MOST_CLASSES, areas_of_square, areas_said, checked, class_map, in_square
from components.tasks.class_maps import answers, costs_of, enlarged, tables_of
from components.tasks.classification import softmax, widen

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.dataset import ImageSet
    from components.params import EvaluateParams, TrainParams
    from components.tasks.losses import Loss

FINER = 4  # a prediction's map has this many pixels for each of the logits, along each side
COARSE = 64  # px, side of the baseline's map


@dataclass(frozen=True)
class Segmentation:
    name: str = "segmentation"
    head: Head = "segmenter"
    target_kind: TargetKind = "pixels"
    primary: str = "miou"
    selection: str = "miou"
    exact: str | None = None
    class_metric: str = "iou"
    signals: tuple[str, ...] = ("classes_shown", "borders")
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def label_of(self, said: Annotation) -> str:
        """The areas that the source gives, or the outlines of its objects with everything else as background."""
        return areas_said(said)

    def check(self, label: str, size: tuple[int, int]) -> str:
        """Without empty areas; raise LabelError for another size, for areas that overlap, and where none is left."""
        return checked(label, size)

    def shown(self, label: str) -> tuple[str, ...]:
        return tuple(sorted(areas_in(label)[0]))

    def targets(self, images: ImageSet, classes: Sequence[str]) -> Targets:
        """uint8 (N, S, S): the place in `classes` of each pixel's class, 255 where it is not judged."""
        return self._maps(images, classes, images.pixels.shape[-1])

    def counts(self, targets: Targets, classes: int) -> NDArray[np.int64]:
        present = [np.bincount(each.ravel(), minlength=IGNORED + 1)[:classes] > 0 for each in targets]
        return np.sum(present, axis=0, dtype=np.int64, initial=0) + np.zeros(classes, dtype=np.int64)

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
        """`train.loss` over the judged pixels of the batch; "auto" is cross-entropy."""
        return _loss_named(params.loss)(outputs, targets, weights, params)

    def tuned(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Segmentation:  # noqa: ARG002
        return self

    def decode(self, outputs: Outputs, classes: Sequence[str]) -> list[Prediction]:
        """Of each image its class map, FINER times finer than the logits; probabilities are shares of its area.

        The label is the class with the largest area; confidence and margin are means over the pixels of the highest
        probability, and of its distance to the second. Signals: how many classes cover a thousandth of the area or
        more, and the share of neighbouring pixels that differ.
        """
        return [_prediction(logits, classes) for logits in outputs]

    def answered(self, prediction: Prediction, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> str:
        """The areas that were found, for the whole image of `size` (width, height)."""
        assert prediction.classes_of_pixels is not None  # `decode` gives a map to each
        return areas_of_square(prediction.classes_of_pixels, list(prediction.probabilities), size, fit)

    def metrics(
        self,
        outputs: Outputs,
        targets: Targets,
        classes: Sequence[str],
        params: EvaluateParams,  # noqa: ARG002
    ) -> dict[str, float]:
        """miou, dice and mean_class_accuracy over the classes that occur; pixel_accuracy; loss (nats a pixel)."""
        _check(outputs, targets, classes)
        table = tables_of(outputs, targets).sum(axis=0)
        return {**_summary(table), "loss": float(costs_of(outputs, targets).sum() / max(table.sum(), 1))}

    def per_class(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class: class, images, pixels (of the squares, true), iou, dice, precision, recall."""
        table = tables_of(outputs, targets).sum(axis=0)
        hits, there, answered = _sides(table)
        columns = {
            "images": self.counts(targets, len(classes)),
            "pixels": there.astype(np.int64),
            "iou": _ratio(hits, there + answered - hits),
            "dice": _ratio(2 * hits, there + answered),
            "precision": _ratio(hits, answered),
            "recall": _ratio(hits, there),
        }
        return [
            {"class": name} | {column: values[place].item() for column, values in columns.items()}
            for place, name in enumerate(classes)
        ]

    def scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N,): mean IoU of each image over the classes that it truly shows; 1 where no pixel is judged.

        A class answered where it is not costs those whose pixels it takes, so that single stray pixels weigh little.
        """
        each = self.class_scores(outputs, targets, classes)
        shown = (~np.isnan(each)).sum(axis=1)
        return np.where(shown > 0, np.nansum(each, axis=1) / np.maximum(shown, 1), 1.0)

    def class_scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:  # noqa: ARG002
        """float64 (N, C): IoU of each class that the image truly shows."""
        hits, there, answered = _sides(tables_of(outputs, targets))
        return np.where(there > 0, hits / np.maximum(there + answered - hits, 1), np.nan)

    def measure(
        self,
        metric: str,
        outputs: Outputs,
        targets: Targets,
        classes: Sequence[str],
        params: EvaluateParams,  # noqa: ARG002
    ) -> Callable[[Places], float] | None:
        tables = tables_of(outputs, targets)
        flat, count = tables.reshape(len(tables), -1).astype(np.float64), len(classes)
        if metric == "loss":
            costs, pixels = costs_of(outputs, targets), flat.sum(axis=1)
            return lambda at: float(costs[at].sum() / max(pixels[at].sum(), 1))
        return lambda at: _summary((np.bincount(at, minlength=len(flat)) @ flat).reshape(count, count))[metric]

    def agreement(self, one: Outputs, other: Outputs, classes: Sequence[str]) -> Floats:  # noqa: ARG002
        """(N,): share of the pixels, as coarse as the logits, for which both answer the same class."""
        same = [(answers(mine) == answers(theirs)).mean() for mine, theirs in zip(one, other, strict=True)]
        return np.array(same, dtype=np.float64)

    def widen(self, outputs: Outputs, own: Sequence[str], classes: Sequence[str]) -> Outputs:
        return widen(outputs, own, classes)

    def baselines(self, train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Outputs]:
        """For every image the same map: at each place of the square the class most often seen there."""
        seen = self._maps(train, classes, min(COARSE, train.pixels.shape[-1]))
        usual = np.stack([(seen == place).sum(axis=0) for place in range(len(classes))])
        answer = (answers(usual) == np.arange(len(classes))[:, None, None]).astype(np.float32)
        return {"usual_map": np.broadcast_to(answer, (len(test), *answer.shape))}

    def pictures(
        self, images: ImageSet, outputs: Outputs, targets: Targets, classes: Sequence[str], most: int
    ) -> dict[str, bytes]:
        """Confusion of pixels; the best, the worst and some other images, each beside its truth and the answer."""
        from components.tasks.class_map_pictures import draw_beside_truth
        from components.tasks.pictures import draw_confusion

        table = tables_of(outputs, targets).sum(axis=0)
        scores = self.scores(outputs, targets, classes)
        title = f"pixels of {len(targets):,} test images, {self.primary} {_summary(table)[self.primary]:.3f}"
        order = np.argsort(-scores, kind="stable")
        chosen = {"best": order[:most], "worst": order[::-1][:most], "random": _some(len(order), most)}
        drawn = {"confusion": draw_confusion(table, classes, title)}
        for name, rows in chosen.items():
            found = _enlarged_answers(outputs[rows], targets.shape[-1])
            captions = [f"{name}: mean IoU {scores[row]:.2f}" for row in rows]
            drawn[f"{name}_images"] = draw_beside_truth(images.pixels[rows], targets[rows], found, classes, captions)
        return drawn

    def _maps(self, images: ImageSet, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        if len(classes) > MOST_CLASSES:
            raise TaskError(f"Found {len(classes)} classes; a class map holds at most {MOST_CLASSES}.")
        place = {name: index for index, name in enumerate(classes)}
        maps = np.full((len(images), side, side), IGNORED, dtype=np.uint8)
        for row, label in enumerate(images.labels):
            unknown = sorted(set(self.shown(label)) - place.keys())
            if unknown:
                raise TaskError(
                    f"Image {images.ids[row]} shows {', '.join(map(repr, unknown[:5]))}, not among the model's "
                    f"{len(classes)} classes. Train again: `visionloop run`."
                )
            maps[row] = in_square(class_map(label, place), side, images.fit)
        return maps


def _enlarged_answers(outputs: Outputs, side: int) -> NDArray[np.uint8]:
    """(N, C, s, s) -> (N, side, side): the place of the answered class of each pixel."""
    return np.array([answers(enlarged(logits, side)) for logits in outputs]).reshape(len(outputs), side, side)


def _loss_named(name: str) -> Loss:
    from components.tasks import losses

    known: dict[str, Loss] = {
        "auto": losses.cross_entropy,
        "cross_entropy": losses.cross_entropy,
        "focal": losses.focal,
        "dice": losses.dice,
        "iou": losses.iou,
        "dice_cross_entropy": losses.dice_cross_entropy,
    }
    if name not in known:
        raise TaskError(f"`train.loss: {name}` is no loss of segmentation; set it to one of {', '.join(known)}.")
    return known[name]


def _prediction(logits: Outputs, classes: Sequence[str]) -> Prediction:
    found = answers(enlarged(logits, FINER * logits.shape[-1]))
    shares = np.bincount(found.ravel(), minlength=len(classes)) / found.size
    second, first = np.partition(softmax(logits[None])[0], -2, axis=0)[-2:] if len(classes) > 1 else (0.0, 1.0)
    differ = [(found[1:] != found[:-1]).mean(), (found[:, 1:] != found[:, :-1]).mean()]
    return Prediction(
        label=classes[int(shares.argmax())],
        confidence=float(np.mean(first)),
        margin=float(np.mean(first - second)),
        probabilities=dict(zip(classes, shares.tolist(), strict=True)),
        classes_of_pixels=found,
        signals={"classes_shown": float((shares >= 0.001).sum()), "borders": float(np.mean(differ))},
    )


def _sides(tables: NDArray[np.int64] | Floats) -> tuple[Floats, Floats, Floats]:
    """(..., C) each: pixels answered rightly, truly there, and answered, by class."""
    counted = tables.astype(np.float64)
    return np.diagonal(counted, axis1=-2, axis2=-1), counted.sum(axis=-1), counted.sum(axis=-2)


def _summary(table: NDArray[np.int64] | Floats) -> dict[str, float]:
    """What one table (C, C) amounts to; 0 where no pixel is judged."""
    hits, there, answered = _sides(table)
    occurs = there > 0
    if not occurs.any():
        return dict.fromkeys(("miou", "dice", "pixel_accuracy", "mean_class_accuracy"), 0.0)
    return {
        "miou": float(_ratio(hits, there + answered - hits)[occurs].mean()),
        "dice": float(_ratio(2 * hits, there + answered)[occurs].mean()),
        "pixel_accuracy": float(hits.sum() / there.sum()),
        "mean_class_accuracy": float(_ratio(hits, there)[occurs].mean()),
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(part / np.maximum(whole, 1))


def _some(count: int, most: int) -> NDArray[np.int64]:
    """Places of `most` images, at random but always the same."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _check(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> None:
    if outputs.ndim != 4 or outputs.shape[:2] != (len(targets), len(classes)) or not len(targets):
        raise TaskError(
            f"Logits are {outputs.shape}; expected ({len(targets)}, {len(classes)}, s, s) and at least one image."
        )
    broken = sum(not np.isfinite(each).all() for each in outputs)
    if broken:
        raise TaskError(
            f"Logits of {broken} of {len(outputs)} images are not finite; the model or its engine is broken."
        )
