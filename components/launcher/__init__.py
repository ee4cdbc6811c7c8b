"""The seam to more processes and machines: `Launcher`, with one module for each way to run.

In: a picklable function and the shards of work it is to see. Out: its results, in the order of the shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class LauncherError(RuntimeError):
    """The work could not be run to its end for a reason outside the function itself."""


class Launcher(Protocol):
    def map_shards(self, function: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yield `function(shard)` for each shard, in order, as they come; what the function raises is raised here."""
        ...
