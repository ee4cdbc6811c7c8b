"""A trained model and the test images -> how good it is: metrics, per class, pictures, and whether it beats a baseline.

In: train and test images, the folder of a model. Out: a folder written whole or not at all: metrics.json with flat
names, per_class.json, confusion.png, mistakes.png. The model is run in fp32 PyTorch; what serves is compiled later and
judged again, by compile and by the gate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.data.dataset import ImageSet
from components.model.card import read_card
from components.params import EvaluateParams
from components.report import Report
from components.tasks import Logits, Targets, Task
from components.workspace import replace_folder


class EvaluateError(RuntimeError):
    """The model is no better than a baseline, or there is nothing to judge it on; the message says what to do."""


def evaluate(
    images: ImageSet, model: Path, out: Path, params: EvaluateParams, task: Task, report: Report
) -> dict[str, float]:
    """Write `out`, return its metrics; raise EvaluateError when a baseline is not beaten and `beat_baselines` is set.

    metrics: those of the task on the test split, and the primary metric of both baselines as baseline_majority and
    baseline_linear.
    """
    train, test = images.of("train"), images.of("test")
    if not len(test):
        raise EvaluateError("No image is in test. See `split:` in params.yaml, then run `visionloop stage split`.")
    classes = read_card(model / "model.json").classes
    targets = task.targets(test.labels, classes)
    logits = _answers(model, test)
    metrics = task.metrics(logits, targets, classes, params.topk, params.calibration_bins)
    baselines = _baselines(train, test, classes, task)
    rows = task.per_class(logits, targets, classes)
    pictures = _pictures(test, logits, targets, classes, task, params.mistakes)
    with replace_folder(out) as folder:
        _write_json(folder / "metrics.json", {**metrics, **baselines})
        _write_json(folder / "per_class.json", rows)
        for name, png in pictures.items():
            (folder / f"{name}.png").write_bytes(png)
    report.metrics({**metrics, **baselines})
    report.table("per_class", rows)
    for name, png in pictures.items():
        report.picture(name, png)
    _check(metrics[task.primary], baselines, task, params)
    return {**metrics, **baselines}


def _answers(model: Path, test: ImageSet) -> Logits:
    import torch

    from components.model.device import best_device, logits_of
    from components.model.zoo import load_model

    net = load_model(model).to(best_device()).to(memory_format=torch.channels_last)
    return logits_of(net, test.pixels)


def _baselines(train: ImageSet, test: ImageSet, classes: Sequence[str], task: Task) -> dict[str, float]:
    from components.model.baselines import linear, majority

    seen, targets = task.targets(train.labels, classes), task.targets(test.labels, classes)
    answers = {
        "baseline_majority": majority(seen, len(test), len(classes)),
        "baseline_linear": linear(train.pixels, seen, test.pixels, len(classes)),
    }
    return {name: float(task.scores(logits, targets).mean()) for name, logits in answers.items()}


def _pictures(
    test: ImageSet, logits: Logits, targets: Targets, classes: Sequence[str], task: Task, mistakes: int
) -> dict[str, bytes]:
    from components.model.pictures import draw_confusion, draw_mistakes
    from components.tasks.classification import confusion

    answers = task.decode(logits, classes)
    wrong = np.flatnonzero(task.scores(logits, targets) == 0)
    worst = sorted(wrong.tolist(), key=lambda row: -answers[row].confidence)[:mistakes]
    captions = [(test.labels[row], answers[row].label, answers[row].confidence) for row in worst]
    title = f"{len(test):,} test images, {task.primary} {task.scores(logits, targets).mean():.3f}"
    return {
        "confusion": draw_confusion(confusion(logits, targets, len(classes)), classes, title),
        "mistakes": draw_mistakes(test.pixels[worst], captions),
    }


def _check(found: float, baselines: dict[str, float], task: Task, params: EvaluateParams) -> None:
    name, best = max(baselines.items(), key=lambda item: item[1])
    if params.beat_baselines and found <= best:
        raise EvaluateError(
            f"The model's {task.primary} is {found:.3f}, no better than {name} with {best:.3f}. Train longer, check "
            "the labels, or set `evaluate.beat_baselines: false` to accept it."
        )


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
