"""Micro-batching: single items from many requests, worked on together in one thread, answered in order.

In: items, one `submit` each. Out: their answers, or the exception that the work raised. What the work is does not
matter here; a bad item should be found out before it is submitted, since an exception fails its whole batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """`async with Batcher(work, max_batch, window_s)`: calls `work` with up to `max_batch` items, never twice at once.

    The first item of a batch waits `window_s` seconds for others, unless enough of them are waiting already.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Answer]], max_batch: int, window_s: float) -> None:
        self._work = work
        self._max_batch = max_batch
        self._window_s = window_s
        self._waiting: asyncio.Queue[tuple[Item, asyncio.Future[Answer]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return self._waiting.qsize()

    async def submit(self, item: Item) -> Answer:
        """The answer to `item`; raises what the work raised. Cancelled while it waits, the item leaves the queue."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((item, answer))
        return await answer

    async def __aenter__(self) -> Batcher[Item, Answer]:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for _, answer in self._taken(self.depth):
            answer.cancel()
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            first = await self._waiting.get()
            if self.depth < self._max_batch - 1:
                await asyncio.sleep(self._window_s)
            batch = [first, *self._taken(self._max_batch - 1)]
            await self._answer([(item, answer) for item, answer in batch if not answer.cancelled()])

    def _taken(self, most: int) -> list[tuple[Item, asyncio.Future[Answer]]]:
        return [self._waiting.get_nowait() for _ in range(min(most, self.depth))]

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        if not batch:
            return
        items, futures = zip(*batch, strict=True)
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
            answered = list(zip(futures, answers, strict=True))
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        else:
            for future, answer in answered:
                if not future.done():  # its request may have gone
                    future.set_result(answer)
