"""Where all chance of one training batch comes from: `Chance`, random numbers for each of its images.

In: a CPU generator, seeded by whoever trains. Out: CPU tensors. A process that trains on some images of a batch draws
for all of them and keeps its own, so that a batch is varied the same on any device and by any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Chance:
    """`images` are in the batch; `mine` are those that this process has."""

    generator: Generator
    images: int
    mine: slice = field(default_factory=lambda: slice(None))

    def numbers(self, rows: int) -> Tensor:
        """(rows, n) float32, even in 0..1: `rows` numbers for each of the n images of this process."""
        import torch

        return torch.rand(rows, self.images, generator=self.generator)[:, self.mine]

    def either_way(self, most: float) -> Tensor:
        """(n,) float32, even between -most and most."""
        return (2 * self.numbers(1)[0] - 1) * most

    def one(self) -> float:
        """One number in 0..1 for the whole batch."""
        import torch

        return float(torch.rand(1, generator=self.generator))
