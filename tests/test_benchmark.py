"""Benchmark: engines and PyTorch take turns on the same images, and rows say how they compare."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from components.engine import load_engine
from components.engine.benchmark import Timing, bench_engine, hardware, some_batch, take_turns
from tests.tiny import SIDE, shape_images, write_engine

PIXELS = shape_images(train=1, val=1).pixels


def test_runs_take_turns_so_that_a_busy_machine_slows_all_of_them() -> None:
    order: list[str] = []

    def run(name: str) -> None:
        if order[-1:] != [name]:
            order.append(name)
        time.sleep(0.001)

    timed = take_turns({"one": lambda _: run("one"), "two": lambda _: run("two")}, PIXELS[:2], seconds=0.05)
    assert order == ["one", "two"] * 5
    assert {name: timing.batch for name, timing in timed.items()} == {"one": 2, "two": 2}


def test_a_run_that_is_twice_as_slow_is_measured_as_such() -> None:
    runs = {"fast": lambda _: time.sleep(0.02), "slow": lambda _: time.sleep(0.04)}
    timed = take_turns(runs, PIXELS[:1], seconds=0.3)
    assert timed["slow"].p50_ms / timed["fast"].p50_ms == pytest.approx(2, rel=0.3)


def test_even_the_slowest_run_is_timed_five_times() -> None:
    timed = take_turns({"slow": lambda _: time.sleep(0.03)}, PIXELS[:1], seconds=0.01)
    assert len(timed["slow"].calls) == 5


def test_a_timing_gives_medians_spread_and_throughput() -> None:
    timing = Timing(batch=8, calls=np.array([10.0, 10.0, 20.0, 30.0, 100.0]))
    assert (timing.p50_ms, timing.spread_ms, timing.images_per_s) == (20.0, 20.0, 400.0)
    assert 90 < timing.p99_ms <= 100


def test_a_batch_repeats_images_when_there_are_too_few() -> None:
    batch = some_batch(PIXELS[:3], 7)
    assert batch.shape == (7, 3, SIDE, SIDE)
    np.testing.assert_array_equal(batch[3:6], PIXELS[:3])


def test_an_engine_is_set_beside_pytorch_at_every_batch_size(tmp_path: Path) -> None:
    import torch

    class Slow(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return images.float().mean((1, 2, 3))

    threads = torch.get_num_threads()
    engine = load_engine(write_engine(tmp_path, "onnxruntime", "fp32"))
    rows = bench_engine(Slow(), engine, PIXELS, batches=(1, 4), seconds=0.05)
    assert [(row["runtime"], row["precision"], row["batch"]) for row in rows] == [
        ("torch", "fp32", 1),
        ("onnxruntime", "fp32", 1),
        ("torch", "fp32", 4),
        ("onnxruntime", "fp32", 4),
    ]
    assert [row["ratio_to_torch_fp32"] for row in rows[::2]] == [1, 1]
    assert all(row["ratio_to_torch_fp32"] > 1 for row in rows[1::2])
    assert all(row["p50_ms"] <= row["p99_ms"] and row["images_per_s"] > 0 for row in rows)
    assert torch.get_num_threads() == threads


def test_the_hardware_is_named() -> None:
    found = hardware()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert set(found) == {"cpu", "cores", "flags"}
