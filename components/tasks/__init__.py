"""What a model is asked to tell of an image: one module a task, all with the interface `Task`.

In: labels as the tables hold them, logits as a net or an engine gives them. Out: targets, loss, predictions, metrics.
A task knows nothing of files, nets or vendors; everything but `loss` is numpy, so that serving needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

Logits = NDArray[np.float32]
Targets = NDArray[np.int64]
ClassRow = dict[str, str | int | float]


class TaskError(ValueError):
    """Labels or logits do not fit the task; the message names what was found and what was expected."""


@dataclass(frozen=True)
class Prediction:
    """What is answered for one image; all numbers are probabilities in 0..1."""

    label: str
    confidence: float  # probability of `label`
    margin: float  # confidence minus the second highest probability
    probabilities: Mapping[str, float]  # by class, in the order of the classes


class Task(Protocol):
    """Logits are float32 (N, C), targets int64 (N,), in the order of `classes`."""

    @property
    def name(self) -> str: ...

    @property
    def primary(self) -> str:
        """The metric that speaks for the model where one number must; higher is better."""
        ...

    def classes(self, labels: pa.Table) -> tuple[str, ...]: ...

    def targets(self, labels: Sequence[str], classes: Sequence[str]) -> Targets: ...

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor: ...

    def decode(self, logits: Logits, classes: Sequence[str]) -> list[Prediction]: ...

    def metrics(
        self, logits: Logits, targets: Targets, classes: Sequence[str], topk: int = 5, bins: int = 15
    ) -> dict[str, float]: ...

    def per_class(self, logits: Logits, targets: Targets, classes: Sequence[str]) -> list[ClassRow]: ...

    def scores(self, logits: Logits, targets: Targets) -> NDArray[np.float64]:
        """One score an image, whose mean is the primary metric; two models are compared pair by pair on these."""
        ...

    def agreement(self, one: Logits, other: Logits) -> NDArray[np.bool_]:
        """Whether two models (or two precisions of one) answer the same, image by image."""
        ...


def task_named(name: str) -> Task:
    """The task called `name` in params.yaml; raise TaskError for an unknown one."""
    from components.tasks.classification import Classification

    tasks: dict[str, Task] = {task.name: task for task in (Classification(),)}
    if name not in tasks:
        raise TaskError(f"No task is called {name!r}; set `task:` to one of {', '.join(tasks)}.")
    return tasks[name]
