"""The prediction log: one row for each image that was answered, written before the answer was sent.

In: rows of one batch. Out: the rows again, by request, by model, or after a place in the log. The images themselves
are in `components.state.image_store`; what people said about the answers is in `components.state.feedback`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, func, insert, select

from components.state.database import predictions, reading

CHUNK = 500  # bound parameters of one query


@dataclass(frozen=True)
class Logged:
    """One answered image; a row of the table `predictions`."""

    request_id: str
    item: int  # place of the image in its request, from 0
    image_id: str
    name: str | None  # the client's file name, for people only: never a path of ours
    model_version: int
    engine_digest: str  # of the bundle that holds the engine
    label: str
    confidence: float
    margin: float
    probabilities: Mapping[str, float]
    format: str
    statistics: Mapping[str, float]  # components.data.tables.STATISTICS, and the signals of the task
    at: datetime
    answer: str | None = None  # as a label text, where that is more than `label`
    id: int = 0  # place in the log; given by the log


def record(log: Engine, rows: Sequence[Logged]) -> None:
    """Append `rows` in one commit: all of them or none. Raises SQLAlchemy's errors (also for an item logged twice)."""
    if rows:
        values = [{name: value for name, value in vars(row).items() if name != "id"} for row in rows]
        with log.begin() as connection:
            connection.execute(insert(predictions), values)


def since(log: Engine, version: int, after_id: int, limit: int) -> list[Logged]:
    """The first `limit` rows of model `version` whose id is above `after_id`, oldest first."""
    of_version = (predictions.c.model_version == version, predictions.c.id > after_id)
    return _rows(log, select(predictions).where(*of_version).order_by(predictions.c.id).limit(limit))


def newest(log: Engine, version: int | None = None) -> Logged | None:
    """The last row, or the last row of model `version`."""
    query = _of(select(predictions), version).order_by(predictions.c.id.desc()).limit(1)
    return next(iter(_rows(log, query)), None)


def count(log: Engine, version: int | None = None) -> int:
    """How many images were answered, or answered by model `version`."""
    with reading(log) as connection:
        return connection.scalar(_of(select(func.count()).select_from(predictions), version)) or 0


def by_request(log: Engine, request_id: str) -> list[Logged]:
    """The rows of one request in the order of its images; empty when there is no such request."""
    return _rows(log, select(predictions).where(predictions.c.request_id == request_id).order_by(predictions.c.item))


def by_items(log: Engine, items: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Logged]:
    """The rows of many (request_id, item) at once; those that are not in the log are left out."""
    wanted = set(items)
    requests = sorted({request_id for request_id, _ in wanted})
    found: dict[tuple[str, int], Logged] = {}
    for start in range(0, len(requests), CHUNK):
        rows = _rows(log, select(predictions).where(predictions.c.request_id.in_(requests[start : start + CHUNK])))
        found |= {(row.request_id, row.item): row for row in rows if (row.request_id, row.item) in wanted}
    return found


def least_certain(log: Engine, version: int, after_id: int, limit: int) -> list[Logged]:
    """Of model `version` and ids above `after_id`, the `limit` rows with the smallest margin, smallest first."""
    of_version = (predictions.c.model_version == version, predictions.c.id > after_id)
    return _rows(log, select(predictions).where(*of_version).order_by(predictions.c.margin).limit(limit))


def _of(query: Select[Any], version: int | None) -> Select[Any]:
    return query if version is None else query.where(predictions.c.model_version == version)


def _rows(log: Engine, query: Select[Any]) -> list[Logged]:
    with reading(log) as connection:
        return [Logged(**row) for row in connection.execute(query).mappings()]
