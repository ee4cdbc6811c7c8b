"""Epoch after epoch until a training is done: first weights, checkpoints, going on after `kill -9`, when to stop.

In: train and val images, params, weights to start from if any. Out: `Fitted`, a learner that holds the weights of its
best epoch. Every epoch is reported at once and ends in a checkpoint. What becomes of the weights is left to `train`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.dataset import ImageSet
from components.launcher.group import ALONE, Group
from components.model.card import ModelCard, read_card
from components.model.checkpoint import Checkpoints
from components.model.learner import Epoch, Learner, TrainError
from components.params import ImageParams, TrainParams
from components.report import Report
from components.tasks import Task, classes_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Fitted:
    """A finished training: `history` has the numbers of each epoch, of which number `best` (from 0) was kept."""

    learner: Learner
    card: ModelCard
    history: list[Epoch]
    best: int


def fit(
    images: ImageSet,
    start: Path,
    checkpoints: Path,
    params: TrainParams,
    image: ImageParams,
    task: Task,
    report: Report,
    group: Group = ALONE,
) -> Fitted:
    """Train on the train split of `images`, judge each epoch on val; raise TrainError, ZooError or CardError.

    `start` is empty or holds model.safetensors and model.json of the same architecture, whose weights are trained on.
    """
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        learner, card = new_learner(images, start, params, image, task, report, group)
        saved = Checkpoints(checkpoints, _digest(images, start, card, params, learner, group))
        history = _resume(learner, saved, report)
        seen = _Progress((params.epochs - len(history)) * learner.batches.images, report)
        while not _finished(history, params, task):
            history.append(learner.epoch(len(history), seen))
            if best_of(history, task) == len(history) - 1:
                learner.keep()
            if group.rank == 0:
                saved.write(len(history), learner.tensors(), history)
            report.metrics(history[-1], step=len(history))
    return Fitted(learner, card, history, best_of(history, task))


def new_learner(
    images: ImageSet,
    start: Path,
    params: TrainParams,
    image: ImageParams,
    task: Task,
    report: Report,
    group: Group = ALONE,
) -> tuple[Learner, ModelCard]:
    """A learner before its first epoch, and the card of what it will be; first weights are from torch's generator."""
    from components.model.nets import Normalised
    from components.model.zoo import build, check_size

    classes = _classes(images, task)
    card = ModelCard(task.name, params.arch, classes, image.size, image.fit, image.mean, image.std, images.data_version)
    warm = _can_start(start, card, report)
    net = build(task.head, card.arch, len(card.classes), "none" if warm else params.weights)
    check_size(net, card.arch, card.size)
    if warm:
        _start_from(task, net, start, card, report)
    elif params.weights == "default":
        _compare_images(task, card, report)
    _set_dropout(net, params, report)
    learner = Learner(Normalised(net, card.mean, card.std), images, card.classes, params, task, group)
    size = sum(weight.numel() for weight in net.parameters()) / 1e6
    where = f"{learner.device}" + (f" of each of {group.size} processes" if group.size > 1 else "")
    report.line(f"train: {card.arch}, {size:.1f} million weights, {learner.precision} on {where}")
    return learner, card


def best_of(history: list[Epoch], task: Task) -> int:
    """The first epoch that no other is better than in the metric the task selects by."""
    values = [epoch[f"val/{task.selection}"] for epoch in history]
    return values.index(min(values) if task.selection == "loss" else max(values))


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


def _compare_images(task: Task, card: ModelCard, report: Report) -> None:
    """Say where the images of params.yaml are not such as the pretrained weights were made for."""
    from components.model.zoo import family

    expected = family(task.head).made_for(card.arch)
    if expected is None:
        return
    size, mean, std = expected
    pairs = {"size": (size, card.size), "mean": (mean, card.mean), "std": (std, card.std)}
    differ = [
        f"{name} {_as_written(made)}, here {_as_written(here)}" for name, (made, here) in pairs.items() if made != here
    ]
    if differ:
        report.line(f"train: the weights of {card.arch} were made for images of {'; '.join(differ)} (see `image:`)")


def _as_written(value: object) -> str:
    """As params.yaml writes it."""
    return f"{list(value)}" if isinstance(value, tuple) else f"{value} px"


def _set_dropout(net: nn.Module, params: TrainParams, report: Report) -> None:
    """Give the net's own dropout layers the share of params.yaml; a net without any cannot drop."""
    from torch import nn

    if params.dropout is None:
        return
    layers = [module for module in net.modules() if isinstance(module, nn.Dropout | nn.Dropout2d)]
    for layer in layers:
        layer.p = params.dropout
    if params.dropout and not layers:
        report.line(f"train: train.dropout does nothing, {params.arch} has no dropout layer")


def _digest(images: ImageSet, start: Path, card: ModelCard, params: TrainParams, learner: Learner, group: Group) -> str:
    """Names everything that decides the weights: images, labels, splits, params, first weights, code, hardware."""
    import torch

    files = sorted([*Path(__file__).parent.glob("*.py"), *start.glob("*"), Path(params.weights)])
    facts = [
        [images.ids, images.labels, images.splits, images.data_version],
        [dataclasses.asdict(params), dataclasses.asdict(card)],
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()],
        [torch.__version__, torch.get_num_threads(), str(learner.device.type), learner.precision, group.size],
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


def _finished(history: list[Epoch], params: TrainParams, task: Task) -> bool:
    lost = bool(params.patience and history) and len(history) - 1 - best_of(history, task) >= params.patience
    return len(history) >= params.epochs or lost


class _Progress:
    def __init__(self, total: int, report: Report) -> None:
        self._done, self._total, self._report = 0, total, report

    def __call__(self, images: int) -> None:
        self._done += images
        self._report.progress(self._done, self._total, "train on images")
