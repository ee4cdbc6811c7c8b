"""Items of many requests are worked on together, in order, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from components.serving.batcher import Batcher


class Doubler:
    """Doubles numbers and remembers its batches; a batch with a 13 in it fails."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.seconds = seconds

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        time.sleep(self.seconds)
        if 13 in numbers:
            raise RuntimeError("thirteen")
        return [2 * number for number in numbers]


def in_batches(
    use: Callable[[Batcher[int, int]], Coroutine[Any, Any, Any]], work: Doubler, window_s: float = 0.02
) -> Any:
    async def main() -> Any:
        async with Batcher(work, max_batch=4, window_s=window_s) as batcher:
            return await use(batcher)

    return asyncio.run(main())


def test_each_item_gets_its_own_answer_and_order_is_kept() -> None:
    work = Doubler()
    answers = in_batches(lambda batcher: asyncio.gather(*map(batcher.submit, range(10))), work)
    assert answers == [2 * number for number in range(10)]
    assert work.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_item_waits_for_others_no_longer_than_the_window() -> None:
    work = Doubler()

    async def two_and_a_late_one(batcher: Batcher[int, int]) -> None:
        async def late() -> int:
            await asyncio.sleep(0.2)
            return await batcher.submit(3)

        await asyncio.gather(batcher.submit(1), batcher.submit(2), late())

    in_batches(two_and_a_late_one, work)
    assert work.batches == [[1, 2], [3]]


def test_a_full_batch_does_not_wait() -> None:
    began = time.monotonic()
    in_batches(lambda batcher: asyncio.gather(*map(batcher.submit, range(4))), Doubler(), window_s=30)
    assert time.monotonic() - began < 5


def test_a_failed_batch_fails_its_items_and_the_next_batch_works() -> None:
    async def bad_then_good(batcher: Batcher[int, int]) -> list[Any]:
        bad = await asyncio.gather(batcher.submit(1), batcher.submit(13), return_exceptions=True)
        return [*map(str, bad), await batcher.submit(2)]

    assert in_batches(bad_then_good, Doubler()) == ["thirteen", "thirteen", 4]


def test_work_that_loses_an_answer_is_an_error_not_a_mix_up() -> None:
    async def main() -> None:
        async with Batcher[int, int](lambda numbers: numbers[1:], max_batch=4, window_s=0.02) as batcher:
            with pytest.raises(ValueError, match="shorter"):
                await asyncio.wait_for(asyncio.gather(batcher.submit(1), batcher.submit(2)), timeout=5)

    asyncio.run(main())


def test_a_cancelled_item_is_not_worked_on() -> None:
    work = Doubler()

    async def cancel_one(batcher: Batcher[int, int]) -> None:
        kept, dropped = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0)
        dropped.cancel()
        await kept

    in_batches(cancel_one, work)
    assert work.batches == [[1]]


def test_items_pile_up_while_the_engine_works_and_then_go_together() -> None:
    work = Doubler(seconds=0.1)

    async def one_then_three(batcher: Batcher[int, int]) -> int:
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        depth = batcher.depth
        await asyncio.gather(first, *rest)
        return depth

    assert in_batches(one_then_three, work, window_s=0) == 3
    assert work.batches == [[0], [1, 2, 3]]


def test_leaving_cancels_what_still_waits_and_ends_the_thread() -> None:
    async def main() -> list[Any]:
        async with Batcher(Doubler(seconds=0.1), max_batch=1, window_s=0) as batcher:
            waiting = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
            await asyncio.sleep(0.05)
        return await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), timeout=5)

    outcomes = asyncio.run(main())
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[1:])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batcher")]
