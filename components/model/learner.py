"""A net in training: one epoch at a time, and everything it would need to go on elsewhere.

In: images, a net, params. Out: the numbers of each epoch, tensors for a checkpoint. An epoch depends on nothing but
these tensors, the params and its own number, from which all chance is drawn anew. Several processes may train one net:
each takes its share of every batch. Files, reports and when to stop are left to `train`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.dataset import ImageSet
from components.launcher.group import ALONE, Group
from components.model.batches import Batch, Batches
from components.model.device import autocast, best_device, fast_precision, outputs_of
from components.model.layer_rates import depths_in, stage_at, thaw
from components.model.optimise import Average, optimizer_for, rate, set_rate
from components.params import TrainParams
from components.tasks import USUAL, ClassRow, Outputs, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.model.nets import Normalised

Epoch = dict[str, float]


class TrainError(RuntimeError):
    """The training cannot start or cannot go on; the message says what to change."""


class Learner:
    """Trains `model` on the train split of `images` and judges it on the val split: its average, where there is one."""

    def __init__(
        self,
        model: Normalised,
        images: ImageSet,
        classes: tuple[str, ...],
        params: TrainParams,
        task: Task,
        group: Group = ALONE,
    ) -> None:
        import torch

        from components.model.zoo import family

        self.device = best_device()
        self.precision = fast_precision(params.precision, self.device)
        self._model = model.to(self.device).to(memory_format=torch.channels_last)
        self._train, self._val = images.of("train"), images.of("val")
        self._targets = task.targets(self._train, classes)
        self._wanted = task.targets(self._val, classes)
        self._classes, self._params, self._task, self._group = classes, params, task, group
        self._depths = depths_in(model.net, family(task.head).class_layers(model.net))
        self._optimizer = optimizer_for(model.net, params, self._depths)
        self._average = Average(model, params.ema) if params.ema else None
        self._weights = class_weights(task.counts(self._targets, len(classes)), len(self._train), params).to(
            self.device
        )
        self._best: dict[str, Tensor] = {}
        self.batches = Batches(self._train, self._targets, classes, params, task, self.device, group)
        self._check_batches()

    def epoch(self, number: int, seen: Callable[[int], None]) -> Epoch:
        """Train epoch `number` (from 0), telling `seen` the images done; return its numbers."""
        began = time.monotonic()
        blocks, of_body = stage_at(number + 1, self._params)
        thaw(self._model.net, self._depths, blocks)
        steps = self.batches.steps * self._params.epochs
        first = number * self.batches.steps
        rates = [rate(first + step, steps, self.batches.steps, self._params) for step in range(self.batches.steps)]
        losses = self.learn(rates, of_body, self._params.seed * 1_000_003 + number, first, seen)
        seconds = time.monotonic() - began
        outputs = self.answers()
        if not (np.isfinite(losses).all() and np.isfinite(outputs).all()):
            raise TrainError(
                f"The loss grew beyond bounds in epoch {number + 1}. Lower `train.lr` from {self._params.lr:g}, or set "
                "`train.clip_norm: 1.0`."
            )
        val = self._task.metrics(outputs, self._wanted, self._classes, USUAL)
        return {
            "train/loss": float(np.average(losses, weights=self.batches.sizes())),
            "val/loss": val["loss"],
            f"val/{self._task.primary}": val[self._task.primary],
            f"val/{self._task.selection}": val[self._task.selection],
            "lr": rates[-1],
            "images_per_s": self.batches.images / seconds,
            "seconds": seconds,
        }

    def learn(
        self, rates: Sequence[float], of_body: float, seed: int, first: int, seen: Callable[[int], None]
    ) -> NDArray[np.float64]:
        """Train a step at each of `rates`, at most an epoch; return the mean loss of each step's images, before it.

        `first` is the number of the first step in the whole training, for the moving average; all chance is `seed`'s.
        """
        import torch

        torch.manual_seed(seed + 1_000_000_007 * self._group.rank)  # for nets with dropout
        net = self._group.wrapped(self._model)
        steps, feed = self.batches.epoch(seed, len(rates))
        losses = []
        for step, (head, sizes) in enumerate(zip(rates, steps, strict=False), first):
            set_rate(self._optimizer, head, of_body)
            losses.append(self._step(net, sizes, feed))
            if self._average:
                self._average.update(self._model, step)
            seen(sum(sizes))
        for model in [self._model, *([self._average.model] if self._average else [])]:
            self._group.same(model.buffers())  # each process has running statistics of its own images
        mine = torch.stack(losses).double().cpu().numpy()
        return np.asarray(np.sum(self._group.gather(mine), axis=0))

    def answers(self) -> Outputs:
        """What the judged weights answer to the val split."""
        mine = outputs_of(self._judged, self._val.pixels[self._group.share(len(self._val))], self.precision)
        return np.concatenate(self._group.gather(mine))

    def judged(self) -> tuple[Mapping[str, float], list[ClassRow]]:
        """Of the best weights, on the val split: the thresholds that fit them, and how each class does with these."""
        self._judged.net.load_state_dict(self._best)
        outputs = self.answers()
        tuned = self._task.tuned(outputs, self._wanted, self._classes)
        return tuned.thresholds, tuned.per_class(outputs, self._wanted, self._classes)

    def keep(self) -> None:
        """Remember the weights as they are now as the best so far."""
        self._best = {name: value.detach().clone() for name, value in self._judged.net.state_dict().items()}

    @property
    def best(self) -> dict[str, Tensor]:
        """The weights last kept, on the CPU, named as in the bare net."""
        return {name: value.cpu().contiguous() for name, value in self._best.items()}

    @property
    def _judged(self) -> Normalised:
        return self._average.model if self._average else self._model

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes from epoch to epoch."""
        optimizer = self._optimizer.state_dict()["state"]
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self._model.state_dict(),
            "average": self._average.model.state_dict() if self._average else {},
            "best": self._best,
            **{f"optimizer {place}": state for place, state in optimizer.items()},
        }
        return {f"{group}/{name}": value for group, state in groups.items() for name, value in state.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors()` gave."""
        groups: dict[str, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            group, _, name = path.partition("/")
            groups.setdefault(group, {})[name] = value.to(self.device)
        self._model.load_state_dict(groups.pop("model"))
        self._best = groups.pop("best", {})
        if self._average:
            self._average.model.load_state_dict(groups.pop("average"))
        self._restore_optimizer({int(group.split()[1]): state for group, state in groups.items()})

    def _restore_optimizer(self, state: dict[int, dict[str, Tensor]]) -> None:
        import torch

        weights = [weight for group in self._optimizer.param_groups for weight in group["params"]]
        for place, values in state.items():
            for name, value in values.items():
                if value.shape == weights[place].shape:  # in the layout of its weight, or sums may round otherwise
                    values[name] = torch.empty_like(weights[place]).copy_(value)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _check_batches(self) -> None:
        smallest = min(self.batches.sizes()) // self._params.accumulate
        if smallest < self._group.size:
            raise TrainError(
                f"A batch of {smallest} image(s) cannot be shared by {self._group.size} processes. Raise "
                "`train.batch_size`, or lower `train.processes`."
            )

    def _step(self, net: nn.Module, sizes: Sequence[int], feed: Iterator[Batch]) -> Tensor:
        """Move the weights once, by the next batches of `feed`; return this process's part of their mean loss."""
        import torch
        from torch.nn.utils import clip_grad_norm_

        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for left, (images, targets) in zip(range(len(sizes) - 1, -1, -1), feed, strict=False):
            with self._group.waiting(net, left > 0):
                loss = self._loss(net, images, targets) * (len(images) / sum(sizes))
                (loss * self._group.size).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        if self._params.clip_norm:
            clip_grad_norm_(self._model.parameters(), self._params.clip_norm, foreach=True)
        self._optimizer.step()
        return torch.stack(losses).sum()

    def _loss(self, net: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        with autocast(self.precision, self.device):
            outputs = net(images).float()
        return self._task.loss(outputs, targets, self._weights, self._params)


def class_weights(counts: NDArray[np.int64], images: int, params: TrainParams) -> Tensor:
    """(C,) float32: ones, or the inverse of how often a class occurs, 1 for a class of average size."""
    import torch

    if params.class_weights == "none":
        return torch.ones(len(counts))
    return torch.from_numpy(images / (len(counts) * np.maximum(counts, 1))).float()
