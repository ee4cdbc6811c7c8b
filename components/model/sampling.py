"""Which training images an epoch sees, and how often: the sampler that `train.sampler` names.

In: the classes that each image shows, chance. Out: rows of images in the order in which an epoch takes them. Images are
in groups by the rarest class that they show (by "nothing" where they show none); a sampler says how many of each group
an epoch has. Images of a group come equally often, to within one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Sampler:
    """`kind` is shuffle, balanced, oversample or undersample; `shown` has the classes of each image."""

    def __init__(self, shown: Sequence[Sequence[str]], kind: str) -> None:
        self._groups = [list(range(len(shown)))] if kind == "shuffle" else _groups(shown)
        self._counts = _counts([len(group) for group in self._groups], kind)

    def __len__(self) -> int:
        """Images in an epoch."""
        return sum(self._counts)

    def rows(self, generator: Generator) -> Tensor:
        """int64 (len,): an epoch's rows, in random order."""
        import torch

        pairs = zip(self._groups, self._counts, strict=True)
        chosen = torch.cat([_drawn(torch.tensor(group), count, generator) for group, count in pairs])
        return chosen if len(self._groups) == 1 else chosen[torch.randperm(len(chosen), generator=generator)]


def _groups(shown: Sequence[Sequence[str]]) -> list[list[int]]:
    """Rows of the images whose rarest class is the same; by name of the class."""
    images = Counter(name for names in shown for name in set(names))
    groups: dict[str, list[int]] = {}
    for row, names in enumerate(shown):
        groups.setdefault(min(names, key=lambda name: (images[name], name), default=""), []).append(row)
    return [groups[name] for name in sorted(groups)]


def _counts(sizes: Sequence[int], kind: str) -> list[int]:
    """How many images an epoch has of each group."""
    if kind == "shuffle":
        return list(sizes)
    if kind == "balanced":
        each, rest = divmod(sum(sizes), len(sizes))
        return [each + (place < rest) for place in range(len(sizes))]
    return [max(sizes) if kind == "oversample" else min(sizes)] * len(sizes)


def _drawn(rows: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` of `rows`: each as often as any other, to within one."""
    import torch

    rounds = [torch.randperm(len(rows), generator=generator) for _ in range(-(-count // len(rows)))]
    return rows[torch.cat(rounds)[:count]]
