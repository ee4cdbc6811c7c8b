"""Batches made ready while the one before them trains: threads that work ahead, results in order.

In: how one batch is made, what each is made of. Out: the batches. A thread computes on one core and lets go of Python
while it does; what comes out depends on none of this.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

J = TypeVar("J")
R = TypeVar("R")
MOST = 8  # threads; more would only wait for Python


def feeders() -> int:
    """How many threads are worth it here: the training itself needs cores too."""
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // 2))


def fed(make: Callable[[J], R], jobs: Iterable[J], threads: int, device: torch.device) -> Iterator[R]:
    """`make(job)` for each of `jobs`, in order, by `threads` a batch ahead each at most; with 0 by no other."""
    if not threads:
        yield from map(make, jobs)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, initializer=_on_one_core, initargs=(device,)) as pool:
        for job in jobs:
            waiting.append(pool.submit(make, job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _on_one_core(device: torch.device) -> None:
    import torch

    torch.set_num_threads(1)  # of this thread alone
    if device.type == "cuda":
        torch.cuda.set_device(device)
