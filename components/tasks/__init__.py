"""What a model is asked to tell of an image: one module a task, all with the interface `Task`.

In: labels as the tables hold them, outputs as a net or an engine gives them. Out: targets, loss, predictions, metrics,
pictures. A task knows nothing of files, nets or vendors; everything but `loss` is numpy, so that serving needs no
torch. Places in an image are shares of the square that the model sees, 0..1, until a `Prediction` meets its image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, Box
from components.params import EvaluateParams

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.dataset import ImageSet
    from components.params import TrainParams

Outputs = NDArray[np.float32]  # (N, ...): what a net or an engine answers to N images
Logits = Outputs  # (N, C), of the tasks that judge an image as a whole
Targets = NDArray[Any]  # (N, ...): what it should have answered, in the form that the task's loss takes
Floats = NDArray[np.float64]
Places = NDArray[np.intp]
ClassRow = dict[str, str | int | float]
Head = Literal["classifier", "detector", "segmenter"]
TargetKind = Literal["classes", "boxes", "pixels"]
# For those who want the primary metric and the loss alone, which depend on none of these.
USUAL = EvaluateParams(topk=5, calibration_bins=15, mistakes=0, beat_baselines=False)


class TaskError(ValueError):
    """Labels or outputs do not fit the task; the message names what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that a model found; the box in shares of the square, 0..1."""

    label: str
    box: Box
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """What is answered for one image; all numbers are probabilities in 0..1 unless said otherwise."""

    label: str  # in a word: the class, or the classes joined by " + "; "none" where nothing was found
    confidence: float  # of `label`; of several classes or objects the mean, of "none" that there is nothing
    margin: float  # how far the nearest other answer is: confidence minus the second highest, or minus the threshold
    probabilities: Mapping[str, float]  # by class, in the order of the classes
    detections: tuple[Detection, ...] | None = None  # the most confident first; None of tasks that look for none
    classes_of_pixels: NDArray[np.uint8] | None = None  # (s, s): places in the classes, row by row from the top left
    signals: Mapping[str, float] = field(default_factory=dict)  # what else is watched; the names are Task.signals


class Task(Protocol):
    """`classes` are sorted; outputs and targets have one row an image, in the order of the images."""

    @property
    def name(self) -> str: ...

    @property
    def head(self) -> Head:
        """The family of nets that can answer; `components.model.zoo` builds them."""
        ...

    @property
    def target_kind(self) -> TargetKind:
        """What of a target moves when its image is moved: nothing of classes."""
        ...

    @property
    def primary(self) -> str:
        """The metric that speaks for the model where one number must; higher is better."""
        ...

    @property
    def exact(self) -> str | None:
        """The metric that is the share of images answered exactly as labelled; None where that says too little."""
        ...

    @property
    def selection(self) -> str:
        """The metric on the val split whose best epoch is kept: "loss" (the lowest), or another (the highest)."""
        ...

    @property
    def class_metric(self) -> str:
        """The column of `per_class` that speaks for one class."""
        ...

    @property
    def signals(self) -> tuple[str, ...]:
        """Numbers of a prediction that are watched beside its label, confidence and margin."""
        ...

    @property
    def thresholds(self) -> Mapping[str, float]:
        """By class, the probability from which it is answered; empty where the most probable class is."""
        ...

    def label_of(self, said: Annotation) -> str:
        """The text for labels.parquet; raise LabelError when the source says too little for this task."""
        ...

    def check(self, label: str, size: tuple[int, int]) -> str:
        """`label` as it must be for an image of `size` (width, height); raise LabelError when it cannot be."""
        ...

    def shown(self, label: str) -> tuple[str, ...]:
        """The different classes that an image with this label shows, sorted."""
        ...

    def targets(self, images: ImageSet, classes: Sequence[str]) -> Targets:
        """Raises TaskError for a label that is not among `classes`."""
        ...

    def counts(self, targets: Targets, classes: int) -> NDArray[np.int64]:
        """(C,): how many images show each class."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, params: TrainParams) -> Tensor:
        """Mean over the batch; `weights` (C,) counts a class more or less."""
        ...

    def tuned(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Task:
        """This task with the thresholds that fit these (validation) outputs best."""
        ...

    def decode(self, outputs: Outputs, classes: Sequence[str]) -> list[Prediction]: ...

    def metrics(
        self, outputs: Outputs, targets: Targets, classes: Sequence[str], params: EvaluateParams
    ) -> dict[str, float]:
        """By flat name, the same in every stage; with `loss`. Averages over classes are over those that have images."""
        ...

    def per_class(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> list[ClassRow]:
        """One row a class, with at least class, images and `class_metric`; a ratio of nothing is 0."""
        ...

    def scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N,): one score an image, 0..1; two models are compared pair by pair on these."""
        ...

    def class_scores(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> Floats:
        """(N, C): the same for each class, NaN where an image has nothing to do with it."""
        ...

    def measure(
        self, metric: str, outputs: Outputs, targets: Targets, classes: Sequence[str], params: EvaluateParams
    ) -> Callable[[Places], float] | None:
        """`metric` of the images at given places (with repeats), called thousands of times; None where it is the mean
        of `scores`."""
        ...

    def agreement(self, one: Outputs, other: Outputs, classes: Sequence[str]) -> Floats:
        """(N,): how far two models (or two precisions of one) answer the same, 0..1."""
        ...

    def answered(self, prediction: Prediction, size: tuple[int, int], fit: Literal["stretch", "crop"]) -> str:
        """The prediction as a label of its image, of `size` (width, height), px, which became a square by `fit`."""
        ...

    def widen(self, outputs: Outputs, own: Sequence[str], classes: Sequence[str]) -> Outputs:
        """Outputs of a model of the classes `own`, put on `classes`; what it does not know it never answers."""
        ...

    def baselines(self, train: ImageSet, test: ImageSet, classes: Sequence[str]) -> dict[str, Outputs]:
        """By name, what the simplest models answer to `test`; empty where there is none worth beating."""
        ...

    def pictures(
        self, images: ImageSet, outputs: Outputs, targets: Targets, classes: Sequence[str], most: int
    ) -> dict[str, bytes]:
        """By name, PNGs that people look at after a training; `most` images at most in each."""
        ...


def task_named(name: str, thresholds: Mapping[str, float] | None = None) -> Task:
    """The task called `name`, with the thresholds of a model's card; raise TaskError for an unknown one."""
    from components.tasks.classification import Classification
    from components.tasks.detection import ObjectDetection
    from components.tasks.multilabel import Multilabel
    from components.tasks.segmentation import Segmentation

    tasks: dict[str, Callable[..., Task]] = {
        "classification": Classification,
        "multilabel": Multilabel,
        "detection": ObjectDetection,
        "segmentation": Segmentation,
    }
    if name not in tasks:
        raise TaskError(f"No task is called {name!r}; set `task:` to one of {', '.join(tasks)}.")
    return tasks[name](thresholds=thresholds or {})


def primary_metric(task: Task, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> float:
    """The metric that speaks for the model."""
    return task.metrics(outputs, targets, classes, USUAL)[task.primary]


def classes_of(task: Task, labels: Iterable[str]) -> tuple[str, ...]:
    """All classes that `labels` show, sorted; their place is the index of their output."""
    return tuple(sorted({name for label in set(labels) for name in task.shown(label)}))
