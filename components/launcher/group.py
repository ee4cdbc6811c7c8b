"""The processes that train one model together: which of them this is, and how they agree.

In: the environment that torchrun gives each process (RANK, WORLD_SIZE, LOCAL_RANK). Out: a `Group`; without that
environment a group of one, in which everything is a plain call. Processes talk by gloo on CPUs and by NCCL on GPUs.
How they are started is in `torchrun`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
FAILURE = "VISIONLOOP_FAILURE"  # names the file into which a worker writes why it gave up


@dataclass(frozen=True)
class Group:
    """`size` processes, of which this is number `rank`; the one with rank 0 reports and writes."""

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> slice:
        """Which of `count` things this process has: a stretch, of nearly one length in each."""
        each, rest = divmod(count, self.size)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))

    def gather(self, value: T) -> list[T]:
        """The `value` of each process, by rank; all have to call this."""
        if self.size == 1:
            return [value]
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def wrapped(self, model: nn.Module) -> nn.Module:
        """`model` such that its gradients are the mean of all processes'; all begin with the weights of rank 0."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)

    def waiting(self, model: nn.Module, more: bool) -> AbstractContextManager[Any]:
        """A context for a backward pass of a `wrapped` model after which `more` follow before gradients are used."""
        if self.size == 1 or not more:
            return nullcontext()
        quiet: AbstractContextManager[Any] = model.no_sync()  # type: ignore[operator]
        return quiet

    def same(self, tensors: Iterator[Tensor]) -> None:
        """Give all processes the `tensors` of rank 0."""
        if self.size > 1:
            from torch import distributed

            for tensor in tensors:
                distributed.broadcast(tensor, 0)


ALONE = Group()


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined() -> Iterator[Group]:
    """The group of this process, while the block lasts; a worker ends when the process that started it does.

    What a worker raises for people to read is written down and ends it as if it had finished: a new start, which is
    what torchrun does about any other end, would only raise it again.
    """
    if not is_worker():
        yield ALONE
        return
    from torch import distributed

    _follow_parent()
    _take_part()
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    except Exception as error:
        if not type(error).__module__.startswith("components."):
            raise
        Path(os.environ[FAILURE]).write_text(str(error), encoding="utf-8")
        sys.exit(0)
    finally:
        distributed.destroy_process_group()


def _take_part() -> None:
    """Join the others, with a GPU or a share of the cores."""
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(os.environ["LOCAL_WORLD_SIZE"])))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def _follow_parent() -> None:
    threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True).start()


def _exit_with(parent: int) -> None:
    """An orphan would go on training, and write beside the one that is started in its place."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
