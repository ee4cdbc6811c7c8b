"""Images with labels -> a trained model: weights (safetensors), its card, the numbers of its best epoch.

In: train and val images, the `train:` and `image:` params, weights to start from if any. Out: a folder written whole or
not at all; pictures and tables for people. `kill -9` and the same call again give the same weights, to the bit on the
same CPU. The epoch that is best on val wins. How the weights come about is in `fitting`, how one epoch does in
`learner`; several processes that torchrun started train one model together, and the first of them reports and writes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from components.data.dataset import ImageSet
from components.launcher.group import joined
from components.model.fitting import Fitted, fit
from components.params import ImageParams, TrainParams
from components.report import Report, Silent
from components.tasks import ClassRow, Task
from components.workspace import replace_folder

TIMES = ("images_per_s", "seconds")  # of an epoch; metrics.json is the same for the same training
SUFFERS = 0.15  # below the mean of all classes in the task's class metric
MOST_NAMED = 5
EXAMPLES = 16  # images on the contact sheet


def train(
    images: ImageSet,
    out: Path,
    start: Path,
    checkpoints: Path,
    params: TrainParams,
    image: ImageParams,
    task: Task,
    report: Report,
) -> dict[str, float]:
    """Write out/model.safetensors, model.json and metrics.json; return the metrics of the best epoch.

    With `folds` also the mean and spread of a cross-validation. Raises what `fitting.fit` raises.
    """
    from components.model.folds import cross_validate, forget_folds

    with joined() as group:
        report = report if group.rank == 0 else Silent()
        folds = cross_validate(images, start, checkpoints, params, image, task, report, group) if params.folds else {}
        fitted = fit(images, start, checkpoints, params, image, task, report, group)
        thresholds, rows = fitted.learner.judged()
        if group.rank:
            return {}
        card = dataclasses.replace(fitted.card, thresholds=thresholds)
        metrics = _metrics(fitted) | folds
        _write(out, dataclasses.replace(fitted, card=card), metrics)
        forget_folds(checkpoints, params.folds)
    _tell(fitted, rows, task, report)
    return metrics


def _metrics(fitted: Fitted) -> dict[str, float]:
    best = fitted.history[fitted.best]
    same_every_time = {name: value for name, value in best.items() if name not in TIMES}
    return {**same_every_time, "best_epoch": fitted.best + 1.0, "epochs": float(len(fitted.history))}


def _write(out: Path, fitted: Fitted, metrics: dict[str, float]) -> None:
    from safetensors.torch import save_file

    with replace_folder(out) as folder:
        save_file(fitted.learner.best, folder / "model.safetensors")
        fitted.card.write(folder / "model.json")
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _tell(fitted: Fitted, rows: Sequence[ClassRow], task: Task, report: Report) -> None:
    from components.model.contact_sheet import draw_augmented
    from components.tasks.pictures import draw_history

    report.metrics({"best_epoch": fitted.best + 1.0, "epochs": float(len(fitted.history))})
    report.table("val_per_class", rows)
    report.picture("history", draw_history(fitted.history, fitted.best))
    examples, targets = fitted.learner.batches.examples(EXAMPLES)
    report.picture("augmented", draw_augmented(examples, targets, fitted.card.classes, task.target_kind))
    suffering = suffering_classes(rows, task.class_metric)
    if suffering:
        report.line(f"train: classes that suffer, by {task.class_metric} on val: {'; '.join(suffering)}")


def suffering_classes(rows: Sequence[ClassRow], metric: str) -> list[str]:
    """In words, the worst first: classes whose `metric` is SUFFERS below the mean, each with its images."""
    shown = [row for row in rows if row["images"]]
    mean = sum(float(row[metric]) for row in shown) / max(len(shown), 1)
    worst = sorted((row for row in shown if float(row[metric]) < mean - SUFFERS), key=lambda row: float(row[metric]))
    return [f"{row['class']} {float(row[metric]):.2f} ({row['images']} images)" for row in worst[:MOST_NAMED]]
