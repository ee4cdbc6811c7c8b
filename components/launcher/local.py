"""Run shards of work in processes of this machine.

In: a number of workers. Out: results in order, with only a few shards in flight, so that a slow reader of the
results bounds the memory. Workers are started afresh (never forked: threads and forks do not mix), leave Ctrl-C to
the parent, and end with it even when it was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from components.launcher import LauncherError, R, S

AHEAD = 3  # shards in flight for each worker


class LocalLauncher:
    """`workers` processes; with one worker, or one shard, the work is done in the calling process."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise LauncherError(f"{workers} workers were asked for; at least 1 is needed.")
        self.workers = workers

    def map_shards(self, function: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """See `Launcher`; raise LauncherError when a worker process dies."""
        workers = min(self.workers, len(shards))
        if workers <= 1:
            return map(function, shards)
        return _in_processes(function, shards, workers)


def _in_processes(function: Callable[[S], R], shards: Sequence[S], workers: int) -> Iterator[R]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_follow_parent)
    waiting: deque[Future[R]] = deque()
    try:
        for shard in shards:
            waiting.append(pool.submit(function, shard))
            if len(waiting) == workers * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise LauncherError(
            "A worker process died, most likely killed for want of memory. Nothing is lost: run the same "
            "command again, with fewer workers (VISIONLOOP_WORKERS=1) if it happens again."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
