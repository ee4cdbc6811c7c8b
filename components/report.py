"""What a stage tells while it works: `Report`, and the simplest listeners.

In: progress, metrics, pictures and tables from a stage. Out: whatever the caller wired up (terminal, MLflow, Prefect).
A stage knows only this Protocol, so that no vendor appears inside one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Row = Mapping[str, object]
BAR = 24  # characters


class Report(Protocol):
    """Where a stage's news goes. Names are paths such as `val/loss` or `confusion`; pictures are PNG bytes."""

    def progress(self, done: int, total: int, what: str) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...

    def picture(self, name: str, png: bytes) -> None: ...

    def table(self, name: str, rows: Sequence[Row]) -> None: ...

    def line(self, text: str) -> None: ...


class Silent:
    """Hear everything, say nothing (tests, library use)."""

    def progress(self, done: int, total: int, what: str) -> None: ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...

    def picture(self, name: str, png: bytes) -> None: ...

    def table(self, name: str, rows: Sequence[Row]) -> None: ...

    def line(self, text: str) -> None: ...


@dataclass(frozen=True)
class Several:
    """Pass everything on to each of `listeners`."""

    listeners: Sequence[Report]

    def progress(self, done: int, total: int, what: str) -> None:
        for each in self.listeners:
            each.progress(done, total, what)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        for each in self.listeners:
            each.metrics(values, step)

    def picture(self, name: str, png: bytes) -> None:
        for each in self.listeners:
            each.picture(name, png)

    def table(self, name: str, rows: Sequence[Row]) -> None:
        for each in self.listeners:
            each.table(name, rows)

    def line(self, text: str) -> None:
        for each in self.listeners:
            each.line(text)


@dataclass
class Terminal(Silent):
    """Lines on stdout, progress with a rate and an estimate: one moving bar on a terminal, else a line every 10 s."""

    quiet_s: float = 10.0
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)  # what -> (clock, count) of its first news
    _said: float = 0.0
    _bar: bool = False  # the cursor stands behind an unfinished bar

    def progress(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        began, first = self._began.setdefault(what, (now, done))
        live = sys.stdout.isatty()
        if done < total and now - self._said < (0.1 if live else self.quiet_s):
            return
        self._said = now
        text = f"{done:,}/{total:,}" + _pace(done - first, total - done, now - began)
        self._bar = live and done < total
        if live:
            print(f"\r\x1b[2K{what} {_bar(done, total)} {text}", end="\r" if self._bar else "\n", flush=True)
        else:
            print(f"{what}: {text}", flush=True)
        if done >= total:
            del self._began[what]

    def line(self, text: str) -> None:
        if self._bar:
            text = f"\x1b[2K{text}"
            self._bar = False
        print(text, flush=True)


def _bar(done: int, total: int) -> str:
    full = BAR if done >= total else BAR * done // total
    return "━" * full + "╌" * (BAR - full)


def _pace(done: int, left: int, seconds: float) -> str:
    """Rate and time left; the time taken when nothing is left; nothing before there is a rate."""
    if not done or seconds <= 0:
        return ""
    rate = done / seconds
    pace = f"  {rate:,.0f}/s" if rate >= 10 else f"  {rate:.1f}/s" if rate >= 1 else f"  {1 / rate:.1f} s each"
    return pace + (f"  {duration(left / rate)} left" if left > 0 else f"  in {duration(seconds)}")


def duration(seconds: float) -> str:
    """`seconds` as people say it: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
