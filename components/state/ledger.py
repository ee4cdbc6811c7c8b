"""The ledger: which model serves, since when, by whose decision; and every model that the gate has judged.

In: decisions. Out: rows that are only ever added to. The newest row of `promotions` names the champion, and that row is
the one cause: MLflow's alias, mails and the serving process follow it and can be replayed. A row is added by
compare-and-swap, so of two deciders who saw the same champion one loses. Judging is `components.registry.gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Row, Select, Update, func, select
from sqlalchemy.exc import IntegrityError

from components.state.database import StateError, models, promotions, reading

Action = Literal["promote", "rollback"]
NOBODY = 0  # `seen` of the first decision


class LostRace(StateError):
    """Another decision about the champion came first; judge again against the new champion."""


@dataclass(frozen=True)
class Promotion:
    id: int
    seen: int
    version: int
    digest: str
    action: Action
    actor: str
    verdict: Mapping[str, Any]
    at: datetime
    announced_at: datetime | None


@dataclass(frozen=True)
class Model:
    version: int
    digest: str
    run_id: str
    data_version: str
    metrics: Mapping[str, float]
    engine: Mapping[str, Any]
    verdict: Mapping[str, Any] | None
    at: datetime


def promote(
    state: Engine,
    version: int,
    digest: str,
    seen: int,
    actor: str,
    verdict: Mapping[str, Any],
    now: datetime,
    action: Action = "promote",
) -> Promotion:
    """Make `version` the champion if row `seen` (0: none) still is the newest; raise LostRace if it is not.

    The verdict of a promotion is noted beside the model in the same transaction: a model is never called promoted
    without serving, whenever the process is killed.
    """
    values = {"seen": seen, "version": version, "digest": digest, "action": action, "actor": actor, "at": now}
    try:
        with state.begin() as connection:
            newest = connection.scalar(select(func.max(promotions.c.id))) or NOBODY
            if newest != seen:
                raise LostRace(f"Model {version} was decided on when row {seen} was newest; now it is {newest}.")
            connection.execute(promotions.insert().values(**values, verdict=dict(verdict)))
            if action == "promote":
                connection.execute(_judged(version, verdict))
            row = connection.execute(_newest()).one()
    except IntegrityError:  # Postgres lets two transactions get this far; the unique `seen` refuses the second
        raise LostRace(f"Model {version} was decided on when row {seen} was newest; another came first.") from None
    return Promotion(**row._mapping)


def champion(state: Engine) -> Promotion | None:
    """The newest decision, whose version serves; None before the first."""
    with reading(state) as connection:
        row = connection.execute(_newest()).one_or_none()
    return Promotion(**row._mapping) if row else None


def history(state: Engine) -> list[Promotion]:
    """Every decision, oldest first."""
    with reading(state) as connection:
        rows = connection.execute(select(promotions).order_by(promotions.c.id)).all()
    return [Promotion(**row._mapping) for row in rows]


def predecessor(state: Engine) -> Promotion | None:
    """The decision that was in force before the champion's version first served: where a rollback leads."""
    decisions = history(state)
    if not decisions:
        return None
    first = next(place for place, each in enumerate(decisions) if each.version == decisions[-1].version)
    return decisions[first - 1] if first else None


def withdrawn(state: Engine) -> set[str]:
    """Digests of models that a rollback took out of service and that nobody has put back."""
    found: set[str] = set()
    for before, decision in pairwise(history(state)):
        if decision.action == "rollback":
            found.add(before.digest)
        found.discard(decision.digest)
    return found


def unannounced(state: Engine) -> list[Promotion]:
    """Decisions whose effects are not known to have happened, oldest first."""
    return [decision for decision in history(state) if decision.announced_at is None]


def mark_announced(
    state: Engine, decision: Promotion, now: datetime, tell: Callable[[Connection, Promotion], None] | None = None
) -> bool:
    """Note that the effects of `decision` have happened; False when somebody else noted it already.

    `tell` writes into the same transaction (a mail into the outbox), so it happens exactly once.
    """
    mine = (promotions.c.id == decision.id) & promotions.c.announced_at.is_(None)
    with state.begin() as connection:
        first = connection.execute(promotions.update().where(mine).values(announced_at=now)).rowcount == 1
        if first and tell:
            tell(connection, decision)
    return first


def record_model(
    state: Engine,
    version: int,
    digest: str,
    run_id: str,
    data_version: str,
    metrics: Mapping[str, float],
    engine: Mapping[str, Any],
    now: datetime,
) -> Model:
    """Note a registered model, not yet judged; the same version again replaces what was noted."""
    facts = {"digest": digest, "run_id": run_id, "data_version": data_version, "at": now}
    with state.begin() as connection:
        connection.execute(models.delete().where(models.c.version == version))
        row = {"version": version, **facts, "metrics": dict(metrics), "engine": dict(engine)}
        connection.execute(models.insert().values(row))
        return _model(connection.execute(select(models).where(models.c.version == version)).one())


def record_verdict(state: Engine, version: int, verdict: Mapping[str, Any]) -> None:
    """Note why the gate did not promote `version`; `promote` notes the verdict of a promotion itself."""
    with state.begin() as connection:
        changed = connection.execute(_judged(version, verdict)).rowcount
    if not changed:
        raise StateError(f"Model {version} is not in the ledger; register it before it is judged.")


def model(state: Engine, version: int) -> Model | None:
    """What is known of `version`; None for a number that was never registered here."""
    with reading(state) as connection:
        row = connection.execute(select(models).where(models.c.version == version)).one_or_none()
    return _model(row) if row else None


def newest_model(state: Engine) -> Model | None:
    """The model that was registered last, whatever the gate said of it."""
    with reading(state) as connection:
        row = connection.execute(select(models).order_by(models.c.version.desc()).limit(1)).one_or_none()
    return _model(row) if row else None


def _newest() -> Select[Any]:
    return select(promotions).order_by(promotions.c.id.desc()).limit(1)


def _judged(version: int, verdict: Mapping[str, Any]) -> Update:
    return models.update().where(models.c.version == version).values(verdict=dict(verdict))


def _model(row: Row[Any]) -> Model:
    return Model(**row._mapping)
