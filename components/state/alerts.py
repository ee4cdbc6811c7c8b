"""Alerts: what went wrong in production, raised once for each cause, and what became of it.

In: alerts as they are raised. Out: rows, and their way from open to resolved. The mail about an alert is enqueued in
the same transaction by `components.monitoring.alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, func, select, update

from components.state.database import alerts, reading

State = Literal["open", "asked", "retraining", "resolved"]
UNSETTLED = ("open", "asked", "retraining")


@dataclass(frozen=True)
class Alert:
    """One cause for concern; a row of the table `alerts`."""

    id: int
    kind: str  # drift, accuracy, volume or champion
    key: str  # the cause: raised once
    signals: Sequence[str]
    detail: Mapping[str, Any]
    model_version: int | None
    state: State
    at: datetime
    handled_at: datetime | None
    flow_run_id: str | None


def add(
    connection: Connection,
    kind: str,
    key: str,
    signals: Sequence[str],
    detail: Mapping[str, Any],
    model_version: int | None,
    now: datetime,
) -> Alert | None:
    """Write an alert in the caller's transaction; None when this cause was raised before."""
    if connection.scalar(select(alerts.c.id).where(alerts.c.key == key)) is not None:
        return None
    row = {"kind": kind, "key": key, "signals": list(signals), "detail": dict(detail), "model_version": model_version}
    added = connection.execute(alerts.insert().values(**row, state="open", at=now).returning(alerts))
    return Alert(**added.mappings().one())


def last_of(connection: Connection, kind: str, model_version: int | None) -> Alert | None:
    """The newest alert of this kind about this model."""
    same = (alerts.c.kind == kind, alerts.c.model_version == model_version)
    row = connection.execute(select(alerts).where(*same).order_by(alerts.c.id.desc()).limit(1)).mappings().first()
    return Alert(**row) if row else None


def open_alerts(state: Engine) -> list[Alert]:
    """Alerts that are not resolved, oldest first."""
    with reading(state) as connection:
        rows = connection.execute(select(alerts).where(alerts.c.state.in_(UNSETTLED)).order_by(alerts.c.id))
        return [Alert(**row) for row in rows.mappings()]


def last_retraining(state: Engine) -> datetime | None:
    """When a flow run last took up alerts to train for them."""
    query = select(func.max(alerts.c.handled_at)).where(alerts.c.flow_run_id.is_not(None))
    with reading(state) as connection:
        found: datetime | None = connection.scalar(query)
    return found


def set_state(
    state: Engine, changed: Sequence[Alert], new: State, now: datetime, flow_run_id: str | None = None
) -> None:
    """Move alerts to the state `new`, noting the flow run that did it where there is one."""
    values: dict[str, Any] = {"state": new, "handled_at": now}
    if flow_run_id:
        values["flow_run_id"] = flow_run_id
    with state.begin() as connection:
        connection.execute(update(alerts).where(alerts.c.id.in_([each.id for each in changed])).values(**values))
