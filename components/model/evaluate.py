"""A trained model and the test images -> how good it is: metrics, per class, pictures, and whether it beats a baseline.

In: train and test images, the folder of a model. Out: a folder written whole or not at all: metrics.json with flat
names, per_class.json, and the pictures of the task. The model is run in fp32 PyTorch; what serves is compiled later
and judged again, by compile and by the gate.
"""

from __future__ import annotations

import json
from pathlib import Path

from components.data.dataset import ImageSet
from components.model.card import read_card
from components.params import EvaluateParams
from components.report import Report
from components.tasks import Outputs, Task, task_named
from components.workspace import replace_folder


class EvaluateError(RuntimeError):
    """The model is no better than a baseline, or there is nothing to judge it on; the message says what to do."""


def evaluate(images: ImageSet, model: Path, out: Path, params: EvaluateParams, report: Report) -> dict[str, float]:
    """Write `out`, return its metrics; raise EvaluateError when a baseline is not beaten and `beat_baselines` is set.

    metrics: those of the task on the test split, and the primary metric of its baselines, as baseline_<name>.
    """
    train, test = images.of("train"), images.of("test")
    if not len(test):
        raise EvaluateError("No image is in test. See `split:` in params.yaml, then run `visionloop stage split`.")
    card = read_card(model / "model.json")
    task, classes = task_named(card.task, card.thresholds), card.classes
    targets, outputs = task.targets(test, classes), _answers(model, test)
    metrics = task.metrics(outputs, targets, classes, params)
    baselines = {
        f"baseline_{name}": task.metrics(answers, targets, classes, params)[task.primary]
        for name, answers in task.baselines(train, test, classes).items()
    }
    rows = task.per_class(outputs, targets, classes)
    pictures = task.pictures(test, outputs, targets, classes, params.mistakes)
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


def _answers(model: Path, test: ImageSet) -> Outputs:
    import torch

    from components.model.device import best_device, outputs_of
    from components.model.zoo import load_model

    net = load_model(model).to(best_device()).to(memory_format=torch.channels_last)
    return outputs_of(net, test.pixels)


def _check(found: float, baselines: dict[str, float], task: Task, params: EvaluateParams) -> None:
    name, best = max(baselines.items(), key=lambda item: item[1], default=("", -1.0))
    if params.beat_baselines and found <= best:
        raise EvaluateError(
            f"The model's {task.primary} is {found:.3f}, no better than {name} with {best:.3f}. Train longer, check "
            "the labels, or set `evaluate.beat_baselines: false` to accept it."
        )


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
