"""From training images to the batches of an epoch: which images, in which order, varied how, shared among processes.

In: images with targets, params, a seed for each epoch. Out: batches on the device, float32 (n, 3, S, S) in 0..255,
channels last, with their targets; made ahead by threads. The same seed gives the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.dataset import ImageSet
from components.launcher.group import ALONE, Group
from components.model.augment import for_training
from components.model.chance import Chance
from components.model.feeding import fed, feeders
from components.model.mixing import mixed
from components.model.sampling import Sampler
from components.params import TrainParams
from components.tasks import Targets, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]  # images and targets


class Batches:
    """Those of `images` for one process of `group`; an epoch has `images` images in `steps` steps."""

    def __init__(
        self,
        images: ImageSet,
        targets: Targets,
        classes: Sequence[str],
        params: TrainParams,
        task: Task,
        device: torch.device,
        group: Group = ALONE,
        threads: int | None = None,
    ) -> None:
        self._pixels, self._targets, self._device, self._group = images.pixels, targets, device, group
        self._classes, self._params, self._kind = len(classes), params, task.target_kind
        self._sampler = Sampler([task.shown(label) for label in images.labels], params.sampler)
        # Policies seed torch's one generator, from which dropout draws at the same time: no threads for them.
        self._threads = (feeders() if threads is None else threads) if params.augment.policy == "none" else 0
        self.images = len(self._sampler)
        self.steps = math.ceil(self.images / (params.batch_size * params.accumulate))

    def sizes(self) -> list[int]:
        """Images of each step, of all processes together."""
        return [len(part) for part in np.array_split(np.empty(self.images), self.steps)]

    def epoch(self, seed: int, steps: int) -> tuple[list[list[int]], Iterator[Batch]]:
        """For the first `steps`: the images in each of their batches, of all processes; and this process's batches."""
        import torch

        order = self._sampler.rows(torch.Generator().manual_seed(seed)).tensor_split(self.steps)
        parts = [rows.tensor_split(math.ceil(len(rows) / self._params.batch_size)) for rows in order[:steps]]
        jobs = [(rows, seed * 1_000_003 + place) for place, rows in enumerate(chain.from_iterable(parts))]
        return [[len(rows) for rows in part] for part in parts], fed(self._made, jobs, self._threads, self._device)

    def examples(self, most: int) -> tuple[NDArray[np.uint8], Targets]:
        """At most `most` images (N, 3, S, S) as an epoch sees them, and their targets."""
        import torch

        generator = torch.Generator().manual_seed(self._params.seed)
        rows = self._sampler.rows(generator)[:most].numpy()
        images, targets = self._varied(rows, Chance(generator, len(rows)))
        return images.round().clamp(0, 255).byte().cpu().numpy(), targets.cpu().numpy()

    def _made(self, job: tuple[Tensor, int]) -> Batch:
        """Of the rows of a batch those of this process, with the chance that belongs to the batch's seed."""
        import torch

        rows, seed = job
        mine = self._group.share(len(rows))
        chance = Chance(torch.Generator().manual_seed(seed), len(rows), mine)
        images, targets = self._varied(rows[mine].numpy(), chance)
        return images.contiguous(memory_format=torch.channels_last), targets

    def _varied(self, rows: NDArray[np.int64], chance: Chance) -> Batch:
        """Images and targets of `rows` as training sees them."""
        import torch

        images = torch.from_numpy(self._pixels[rows]).to(self._device, memory_format=torch.channels_last)
        targets = torch.from_numpy(self._targets[rows]).to(self._device)
        augment = self._params.augment
        images, targets = for_training(images, targets, self._kind, augment, chance)
        return mixed(images, targets, self._classes, augment, chance) if self._kind == "classes" else (images, targets)
