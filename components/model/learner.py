"""A net in training: one epoch at a time, and everything it would need to go on elsewhere.

In: images, a net, params. Out: the numbers of each epoch, tensors for a checkpoint. An epoch depends on nothing but
these tensors, the params and its own number, from which all chance is drawn anew. Files, reports and when to stop are
left to `train`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.dataset import ImageSet
from components.model.augment import for_training
from components.model.device import autocast, best_device, fast_precision, outputs_of
from components.model.optimise import Average, optimizer_for, rate
from components.params import TrainParams
from components.tasks import USUAL, Outputs, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from components.model.nets import Normalised

Epoch = dict[str, float]


class TrainError(RuntimeError):
    """The training cannot start or cannot go on; the message says what to change."""


class Learner:
    """Trains `model` on the train split of `images` and judges it on the val split: its average, where there is one."""

    def __init__(
        self, model: Normalised, images: ImageSet, classes: tuple[str, ...], params: TrainParams, task: Task
    ) -> None:
        import torch

        self.device = best_device()
        self.precision = fast_precision(params.precision, self.device)
        self._model = model.to(self.device).to(memory_format=torch.channels_last)
        self._train, self._val = images.of("train"), images.of("val")
        self._targets = task.targets(self._train, classes)
        self._wanted = task.targets(self._val, classes)
        self._classes, self._params, self._task = classes, params, task
        self._optimizer = optimizer_for(model, params)
        self._average = Average(model, params.ema) if params.ema else None
        self._weights = class_weights(task.counts(self._targets, len(classes)), len(self._train), params).to(
            self.device
        )
        self._best: dict[str, Tensor] = {}
        self._steps = math.ceil(len(self._train) / params.batch_size)  # an epoch

    def epoch(self, number: int, seen: Callable[[int], None]) -> Epoch:
        """Train epoch `number` (from 0), telling `seen` the images done; return its numbers."""
        import torch

        seed = self._params.seed * 1_000_003 + number
        torch.manual_seed(seed)  # for nets with dropout
        generator = torch.Generator().manual_seed(seed)
        began = time.monotonic()
        self._freeze(number < self._params.freeze_epochs)
        loss = self._learn(number * self._steps, generator, seen)
        seconds = time.monotonic() - began
        outputs = self.answers()
        if not (math.isfinite(loss) and np.isfinite(outputs).all()):
            raise TrainError(
                f"The loss grew beyond bounds in epoch {number + 1}. Lower `train.lr` from {self._params.lr:g}."
            )
        val = self._task.metrics(outputs, self._wanted, self._classes, USUAL)
        return {
            "train/loss": loss,
            "val/loss": val["loss"],
            f"val/{self._task.primary}": val[self._task.primary],
            f"val/{self._task.selection}": val[self._task.selection],
            "lr": self._optimizer.param_groups[0]["lr"],
            "images_per_s": len(self._train) / seconds,
        }

    def answers(self) -> Outputs:
        """What the judged weights answer to the val split."""
        return outputs_of(self._judged, self._val.pixels, self.precision)

    def tuned(self) -> Mapping[str, float]:
        """The thresholds that fit the best weights on the val split."""
        self._judged.net.load_state_dict(self._best)
        return self._task.tuned(self.answers(), self._wanted, self._classes).thresholds

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

    def _freeze(self, frozen: bool) -> None:
        """Let the head alone learn while `frozen`; the body's running statistics rest too."""
        from components.model.zoo import family

        self._model.train(not frozen)
        self._model.requires_grad_(not frozen)
        for layer in family(self._task.head).class_layers(self._model.net):
            layer.train().requires_grad_(True)

    def _learn(self, first_step: int, generator: Generator, seen: Callable[[int], None]) -> float:
        """All batches of one epoch; return their mean loss, by image."""
        import torch

        total = torch.zeros((), device=self.device)
        order = torch.randperm(len(self._train), generator=generator)
        for step, rows in enumerate(order.tensor_split(self._steps), first_step):  # batches of nearly one size
            total += self._step(step, rows, generator) * len(rows)
            seen(len(rows))
        return float(total) / len(order)

    def _step(self, step: int, rows: Tensor, generator: Generator) -> Tensor:
        import torch

        places = rows.numpy()
        images = torch.from_numpy(self._train.pixels[places]).to(self.device)
        targets = torch.from_numpy(self._targets[places]).to(self.device)
        images = for_training(images, self._params.augment, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        for group in self._optimizer.param_groups:
            group["lr"] = rate(step, self._params.epochs * self._steps, self._steps, self._params)
        with autocast(self.precision, self.device):
            outputs = self._model(images).float()
        loss = self._task.loss(outputs, targets, self._weights, self._params)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if self._average:
            self._average.update(self._model, step)
        return loss.detach()


def class_weights(counts: NDArray[np.int64], images: int, params: TrainParams) -> Tensor:
    """(C,) float32: ones, or the inverse of how often a class occurs, 1 for a class of average size."""
    import torch

    if params.class_weights == "none":
        return torch.ones(len(counts))
    return torch.from_numpy(images / (len(counts) * np.maximum(counts, 1))).float()
