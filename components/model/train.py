"""Images with labels -> a trained model: weights (safetensors), its card, the numbers of its best epoch.

In: train and val images, the `train:` and `image:` params, weights to start from if any. Out: a folder written whole or
not at all. Every epoch is reported at once and ends in a checkpoint: `kill -9` and the same call again give the same
weights, to the bit on the same CPU. The epoch that is best on val wins. How an epoch is trained is in `learner`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.dataset import ImageSet
from components.model.card import ModelCard, read_card
from components.model.checkpoint import Checkpoints
from components.model.learner import Epoch, Learner, TrainError
from components.params import ImageParams, TrainParams
from components.report import Report
from components.tasks import Task, classes_of
from components.workspace import replace_folder

if TYPE_CHECKING:
    from torch import nn


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

    `start` is empty or holds model.safetensors and model.json of the same architecture, whose weights are then trained
    on. Raises TrainError, and ZooError or CardError for weights that do not fit.
    """
    import torch

    classes = _classes(images, task)
    card = ModelCard(task.name, params.arch, classes, image.size, image.fit, image.mean, image.std, images.data_version)
    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        learner = _learner(images, start, card, params, task, report)
        saved = Checkpoints(checkpoints, _digest(images, start, card, params, learner))
        history = _resume(learner, saved, report)
        left = (params.epochs - len(history)) * len(images.of("train"))
        seen = _Progress(left, report)
        while not _finished(history, params, task):
            history.append(learner.epoch(len(history), seen))
            if _best(history, task) == len(history) - 1:
                learner.keep()
            saved.write(len(history), learner.tensors(), history)
            report.metrics(history[-1], step=len(history))
    return _write(out, learner, card, history, task, report)


def _classes(images: ImageSet, task: Task) -> tuple[str, ...]:
    empty = [split for split in ("train", "val") if split not in images.splits]
    if empty:
        raise TrainError(
            f"No image is in {' or '.join(empty)}; training needs both. See `split:` in params.yaml, then run "
            "`visionloop stage split`."
        )
    classes = classes_of(task, images.labels)
    untrained = sorted(set(classes) - set(classes_of(task, images.of("train").labels)))
    if untrained:
        raise TrainError(f"No training image shows {', '.join(map(repr, untrained[:5]))}; ingest some more of them.")
    return classes


def _learner(
    images: ImageSet, start: Path, card: ModelCard, params: TrainParams, task: Task, report: Report
) -> Learner:
    from components.model.nets import Normalised
    from components.model.zoo import build, check_size

    warm = _can_start(start, card, report)
    net = build(task.head, card.arch, len(card.classes), "none" if warm else params.weights)
    check_size(net, card.arch, card.size)
    if warm:
        _start_from(task, net, start, card, report)
    learner = Learner(Normalised(net, card.mean, card.std), images, card.classes, params, task)
    size = sum(weight.numel() for weight in net.parameters()) / 1e6
    report.line(f"train: {card.arch}, {size:.1f} million weights, {learner.precision} on {learner.device}")
    return learner


def _can_start(start: Path, card: ModelCard, report: Report) -> bool:
    """Whether `start` holds a model that can be trained on; say so when it holds one that cannot."""
    if not (start / "model.safetensors").is_file():
        return False
    found = read_card(start / "model.json")
    fits = (found.task, found.arch) == (card.task, card.arch)
    if not fits:
        report.line(f"train: not started from the champion, a {found.arch} for {found.task}; params say {card.arch}")
    return fits


def _start_from(task: Task, net: nn.Module, start: Path, card: ModelCard, report: Report) -> None:
    from components.model.zoo import carry_over, weights_in

    old = read_card(start / "model.json").classes
    carry_over(task.head, net, weights_in(start / "model.safetensors"), old, card.classes)
    new = len(set(card.classes) - set(old))
    report.line(f"train: started from the model in {start.name}" + (f", with {new} new class(es)" if new else ""))


def _digest(images: ImageSet, start: Path, card: ModelCard, params: TrainParams, learner: Learner) -> str:
    """Names everything that decides the weights: images, labels, splits, params, first weights, code, hardware."""
    import torch

    files = sorted([*Path(__file__).parent.glob("*.py"), *start.glob("*"), Path(params.weights)])
    facts = [
        [images.ids, images.labels, images.splits, images.data_version],
        [dataclasses.asdict(params), dataclasses.asdict(card)],
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()],
        [torch.__version__, torch.get_num_threads(), str(learner.device), learner.precision],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _resume(learner: Learner, saved: Checkpoints, report: Report) -> list[Epoch]:
    """Go on from the newest checkpoint: the numbers of the epochs done, told again to `report`."""
    found = saved.newest()
    if found is None:
        return []
    tensors, history = found
    learner.restore(tensors)
    report.line(f"train: going on after epoch {len(history)}, where an earlier run was cut off")
    for number, epoch in enumerate(history, 1):
        report.metrics(epoch, step=number)
    return list(history)


class _Progress:
    def __init__(self, total: int, report: Report) -> None:
        self._done, self._total, self._report = 0, total, report

    def __call__(self, images: int) -> None:
        self._done += images
        self._report.progress(self._done, self._total, "train on images")


def _best(history: list[Epoch], task: Task) -> int:
    """The first epoch that no other is better than in the metric the task selects by."""
    values = [epoch[f"val/{task.selection}"] for epoch in history]
    return values.index(min(values) if task.selection == "loss" else max(values))


def _finished(history: list[Epoch], params: TrainParams, task: Task) -> bool:
    patience_lost = bool(params.patience and history) and len(history) - 1 - _best(history, task) >= params.patience
    return len(history) >= params.epochs or patience_lost


def _write(
    out: Path, learner: Learner, card: ModelCard, history: list[Epoch], task: Task, report: Report
) -> dict[str, float]:
    from safetensors.torch import save_file

    from components.tasks.pictures import draw_history

    card = dataclasses.replace(card, thresholds=learner.tuned())
    number = _best(history, task)
    same_every_time = {name: value for name, value in history[number].items() if name != "images_per_s"}
    metrics = {**same_every_time, "best_epoch": number + 1.0, "epochs": float(len(history))}
    with replace_folder(out) as folder:
        save_file(learner.best, folder / "model.safetensors")
        card.write(folder / "model.json")
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    report.metrics({name: metrics[name] for name in ("best_epoch", "epochs")})
    report.picture("history", draw_history(history, number))
    return metrics
