"""How fast does it run? Latency and throughput of engines, and of PyTorch beside them, taken in turns.

In: callables or engines, and images. Out: `Timing`s and rows for a table. Every runtime gets a short turn, many times
over, so that whatever else the machine does falls on all of them alike; ratios are of medians from one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.engine import Engine, Pixels, cores

if TYPE_CHECKING:
    from torch import nn

Run = Callable[[Pixels], object]
Row = dict[str, str | int | float | None]
TURNS = 5
BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Timing:
    """Calls of one runtime at one batch size."""

    batch: int  # images
    calls: NDArray[np.float64]  # ms

    @property
    def p50_ms(self) -> float:
        return float(np.median(self.calls))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.calls, 99))

    @property
    def spread_ms(self) -> float:
        """Between the quartiles: half of the calls lie that close together."""
        return float(np.subtract(*np.percentile(self.calls, [75, 25])))

    @property
    def images_per_s(self) -> float:
        return 1000 * self.batch / self.p50_ms


def take_turns(runs: Mapping[str, Run], images: Pixels, seconds: float) -> dict[str, Timing]:
    """Time each of `runs` on the same batch for about `seconds` in all (five calls at least), in turns.

    Each turn starts untimed: threads of the runtime before may still be spinning.
    """
    calls: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            _call_for(run, images, min(0.02, seconds / TURNS))
            calls[name] += _call_for(run, images, seconds / TURNS)
    return {name: Timing(len(images), np.array(values)) for name, values in calls.items()}


def _call_for(run: Run, images: Pixels, seconds: float) -> list[float]:
    """Milliseconds of each call, until `seconds` have gone."""
    calls: list[float] = []
    end = time.perf_counter() + seconds
    while not calls or time.perf_counter() < end:
        start = time.perf_counter()
        run(images)
        calls.append(1000 * (time.perf_counter() - start))
    return calls


def bench_engine(
    model: nn.Module, engine: Engine, pixels: Pixels, batches: Sequence[int] = BATCHES, seconds: float = 2.0
) -> list[Row]:
    """PyTorch eager fp32 and `engine` on the same images, on all cores: two rows for each batch size.

    `model` takes uint8 (N, 3, S, S) and is on the CPU (`components.model.zoo.load_model`). `seconds` are for each
    runtime and batch size.
    """
    rows: list[Row] = []
    with _eager(model) as eager:
        for batch in batches:
            images = some_batch(pixels, batch)
            timed = take_turns({"torch": eager, engine.target: engine.run}, images, seconds)
            for (runtime, timing), precision in zip(timed.items(), ("fp32", engine.precision), strict=True):
                rows.append(_row(runtime, precision, timing, timed["torch"]))
    return rows


def some_batch(pixels: Pixels, batch: int) -> Pixels:
    """`batch` images of `pixels`, again from the first one when there are fewer."""
    return pixels[np.arange(batch) % len(pixels)]


@contextmanager
def _eager(model: nn.Module) -> Iterator[Run]:
    """`model` as a function of uint8 arrays, on as many threads as the engines get."""
    import torch

    def run(images: Pixels) -> object:
        with torch.inference_mode():
            return model(torch.from_numpy(images))

    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield run
    finally:
        torch.set_num_threads(threads)


def _row(runtime: str, precision: str, timing: Timing, torch: Timing) -> Row:
    return {
        "runtime": runtime,
        "precision": precision,
        "batch": timing.batch,
        "images_per_s": round(timing.images_per_s, 1),
        "p50_ms": round(timing.p50_ms, 3),
        "p99_ms": round(timing.p99_ms, 3),
        "spread_ms": round(timing.spread_ms, 3),
        "ratio_to_torch_fp32": round(torch.p50_ms / timing.p50_ms, 2),
    }


def hardware() -> dict[str, str | int]:
    """The CPU's name, its abilities that decide about precision, and the cores that this process may use."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines}
    flags = found.get("flags", found.get("Features", "")).split()
    wanted = ("avx", "amx", "fma", "asimd", "sve", "i8mm", "bf16")
    able = sorted(flag for flag in flags if flag.startswith(wanted))
    return {"cpu": found.get("model name", "unknown"), "cores": cores(), "flags": " ".join(able)}
