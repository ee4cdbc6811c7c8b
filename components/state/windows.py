"""Judged windows of predictions: which rows of the log, by which model, with what verdict; each window once.

In: verdicts of the drift rule. Out: where the next window starts, the recent verdicts, and the effects of the first
good windows. Judging is `components.monitoring.drift`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from components.state.database import reading, windows


@dataclass(frozen=True)
class JudgedWindow:
    """A row of the table `windows`; `signals` are the fields of components.monitoring.drift.SignalDrift."""

    id: int
    model_version: int
    first_prediction: int  # ids in the prediction log, both included
    last_prediction: int
    size: int
    verdict: str  # ok, warn or alert
    signals: Sequence[Mapping[str, Any]]
    report: str | None  # path of the evidence, relative to the state folder
    at: datetime


def record(
    state: Engine,
    model_version: int,
    first: int,
    last: int,
    size: int,
    verdict: str,
    signals: Sequence[Mapping[str, Any]],
    report: str | None,
    now: datetime,
) -> bool:
    """Write one window; False when another process has judged it already."""
    place = {"model_version": model_version, "first_prediction": first, "last_prediction": last, "size": size}
    found = {"verdict": verdict, "signals": [dict(each) for each in signals], "report": report, "at": now}
    try:
        with state.begin() as connection:
            connection.execute(windows.insert().values(**place, **found))
    except IntegrityError:
        return False
    return True


def last_prediction(state: Engine, model_version: int) -> int:
    """The id in the log up to which this model's predictions have been judged; 0 before the first window."""
    query = select(func.max(windows.c.last_prediction)).where(windows.c.model_version == model_version)
    with reading(state) as connection:
        return connection.scalar(query) or 0


def of_model(state: Engine, model_version: int) -> list[JudgedWindow]:
    """All windows of one model, oldest first."""
    query = select(windows).where(windows.c.model_version == model_version).order_by(windows.c.id)
    with reading(state) as connection:
        return [JudgedWindow(**row) for row in connection.execute(query).mappings()]
