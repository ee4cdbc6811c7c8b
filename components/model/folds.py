"""k-fold cross-validation: how good a recipe is, and how much of that is luck of the split.

In: train and val images together; the test split has no part in it. Out: mean and spread of the task's primary metric
over k trainings, each of which is judged on another k-th of the images. Near-duplicates stay together, each class is
spread evenly. Each training has checkpoints of its own, so `kill -9` costs an epoch at most.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.data.dataset import ImageSet
from components.launcher.group import ALONE, Group
from components.model.fitting import fit
from components.params import ImageParams, TrainParams
from components.report import Report, Silent
from components.tasks import Task


def cross_validate(
    images: ImageSet,
    start: Path,
    checkpoints: Path,
    params: TrainParams,
    image: ImageParams,
    task: Task,
    report: Report,
    group: Group = ALONE,
) -> dict[str, float]:
    """Train `params.folds` times; report a table and return folds/<metric>_mean and _spread (standard deviation)."""
    name, rows = f"val/{task.primary}", []
    held = folds_of(images, [task.shown(label) for label in images.labels], params.folds, params.seed)
    for number, fold in enumerate(held, 1):
        splits = ["val" if row in fold else "train" for row in range(len(images))]
        place = _checkpoints(checkpoints, number)
        quiet = _OneFold(report, f"fold {number} of {params.folds}")
        fitted = fit(replace(images, splits=splits), start, place, params, image, task, quiet, group)
        best = fitted.history[fitted.best]
        rows.append({"fold": number, "images": len(fold), **{key: best[key] for key in (name, "val/loss")}})
    values = [float(row[name]) for row in rows]
    found = {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1))}
    report.table("folds", rows)
    report.line(f"train: {task.primary} of {params.folds} folds: {found['mean']:.4f} ± {found['spread']:.4f}")
    named = {f"folds/{task.primary}_{key}": value for key, value in found.items()}
    report.metrics(named)
    return named


def forget_folds(checkpoints: Path, folds: int) -> None:
    """Remove the checkpoints of a finished cross-validation."""
    for number in range(1, folds + 1):
        shutil.rmtree(_checkpoints(checkpoints, number), ignore_errors=True)


def folds_of(images: ImageSet, shown: Sequence[Sequence[str]], count: int, seed: int) -> list[set[int]]:
    """`count` sets of rows, each to be held out once; `shown` has the classes of each image.

    Never held out are synthetic images with their near-duplicates, and images whose class has no other group: nothing
    would be left to learn it from.
    """
    names = Counter(name for each in shown for name in set(each))
    groups: dict[str, list[int]] = defaultdict(list)
    made = {row for row, kind in enumerate(images.kinds) if kind == "synthetic"}
    for row, name in enumerate(images.groups or images.ids):
        groups[name].append(row)
    groups = {name: rows for name, rows in groups.items() if not made.intersection(rows)}
    kinds: dict[str, list[list[int]]] = defaultdict(list)
    for _, rows in sorted(groups.items()):
        rarest = min(shown[rows[0]], key=lambda name: (names[name], name), default="")
        kinds[rarest].append(rows)
    folds: list[set[int]] = [set() for _ in range(count)]
    order = np.random.default_rng(seed)
    for _, members in sorted(kinds.items()):
        _deal([members[place] for place in order.permutation(len(members))], folds)
    return folds


def _deal(groups: list[list[int]], folds: list[set[int]]) -> None:
    """Give each group to the fold that has the fewest of these so far; of equals to the smallest fold."""
    if len(groups) < 2:
        return
    given = [0] * len(folds)
    for rows in groups:
        place = min(range(len(folds)), key=lambda fold: (given[fold], len(folds[fold])))
        folds[place].update(rows)
        given[place] += len(rows)


def _checkpoints(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}-fold-{number}")


@dataclass(frozen=True)
class _OneFold(Silent):
    """Passes progress and lines on, with the fold's number; its metrics are no metrics of the training."""

    report: Report
    name: str

    def progress(self, done: int, total: int, what: str) -> None:
        self.report.progress(done, total, f"{self.name}: {what}")

    def line(self, text: str) -> None:
        self.report.line(f"{self.name}: {text}")
