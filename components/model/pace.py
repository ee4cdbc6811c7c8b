"""How long an epoch takes here: so that trainings of different nets can be given the same seconds.

In: images and params. Out: seconds, and how many epochs fit a budget. Measured on a few steps, untimed ones first, and
on one judging of the val split.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from components.data.dataset import ImageSet
from components.model.fitting import new_learner
from components.params import ImageParams, TrainParams
from components.report import Silent
from components.tasks import Task

WARM, TIMED = 2, 5  # steps


def epoch_seconds(images: ImageSet, params: TrainParams, image: ImageParams, task: Task) -> float:
    """Seconds of one epoch and of judging it."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        learner, _ = new_learner(images, Path("nowhere"), params, image, task, Silent())
        learner.learn([1e-6] * WARM, 1.0, 0, 0, lambda _: None)
        began, seen = time.perf_counter(), [0]
        learner.learn([1e-6] * TIMED, 1.0, 1, 0, lambda count: seen.append(count))
        learning = (time.perf_counter() - began) * learner.batches.images / sum(seen)
        began = time.perf_counter()
        learner.answers()
        return learning + time.perf_counter() - began


def epochs_within(seconds: float, images: ImageSet, params: TrainParams, image: ImageParams, task: Task) -> int:
    """How many epochs end within `seconds`; at least one."""
    return max(1, math.floor(seconds / epoch_seconds(images, params, image, task)))
