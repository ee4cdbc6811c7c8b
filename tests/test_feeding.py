"""Batches that are made ahead come in order and the same, only a few are waiting, and errors reach the trainer."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from components.model.batches import Batches
from components.model.feeding import fed
from tests.training import PARAMS, TASK, shapes

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_however_long_each_takes(threads: int):
    def make(number: int) -> int:
        time.sleep(0.01 if number % 3 else 0.03)
        return number * number

    assert list(fed(make, range(12), threads, CPU)) == [number**2 for number in range(12)]


def test_threads_work_ahead_by_a_batch_each_and_no_more():
    made: list[int] = []
    results = fed(made.append, range(50), 2, CPU)
    next(results)
    time.sleep(0.2)
    assert len(made) == 3
    results.close()  # type: ignore[attr-defined]


def test_a_thread_of_its_own_computes_on_one_core():
    before = torch.get_num_threads()
    seen = [*fed(lambda _: (threading.get_ident(), torch.get_num_threads()), range(4), 1, CPU)]
    assert {cores for _, cores in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert torch.get_num_threads() == before


def test_what_goes_wrong_is_raised_where_the_batch_is_wanted():
    def make(number: int) -> int:
        if number == 2:
            raise OSError("the disk is gone")
        return number

    results = fed(make, range(5), 2, CPU)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_the_same_seed_gives_the_same_batches_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    images = shapes().of("train")
    targets = TASK.targets(images, sorted(set(images.labels)))
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("components.model.batches.feeders", lambda threads=threads: threads)
        batches = Batches(images, targets, sorted(set(images.labels)), PARAMS, TASK, CPU)
        sizes, feed = batches.epoch(5, batches.steps)
        found.append(list(feed))
        assert [len(each) for each, _ in found[-1]] == [size for step in sizes for size in step]
    for (one, label), (other, same) in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(label, same)
        assert one.is_contiguous(memory_format=torch.channels_last)
