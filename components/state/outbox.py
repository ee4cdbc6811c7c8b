"""Mail that is to be sent: written in the transaction of its cause, so that neither is ever without the other.

In: messages. Out: those that are due, and what became of each. A message has a key and is enqueued once for it. Sending
is `components.monitoring.mail`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

from sqlalchemy import Connection, Engine, func, select, update

from components.state.database import outbox, reading

LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class Mail:
    id: int
    key: str
    message: str  # RFC 5322
    attempts: int
    at: datetime


def enqueue(connection: Connection, key: str, message: EmailMessage, now: datetime) -> bool:
    """Put `message` into the outbox in the caller's transaction; False when a mail with this key is there already."""
    if connection.scalar(select(outbox.c.id).where(outbox.c.key == key)) is not None:
        return False
    values = {
        "key": key,
        "message": message.as_string(),
        "state": "waiting",
        "attempts": 0,
        "not_before": now,
        "at": now,
    }
    connection.execute(outbox.insert().values(**values))
    return True


def due(state: Engine, now: datetime) -> list[Mail]:
    """Mail whose time has come, oldest first."""
    columns = (outbox.c.id, outbox.c.key, outbox.c.message, outbox.c.attempts, outbox.c.at)
    query = select(*columns).where(outbox.c.state == "waiting", outbox.c.not_before <= now).order_by(outbox.c.id)
    with reading(state) as connection:
        return [Mail(**row) for row in connection.execute(query).mappings()]


def mark_sent(state: Engine, mail: Mail, now: datetime) -> None:
    with state.begin() as connection:
        values = {"state": "sent", "sent_at": now, "attempts": mail.attempts + 1}
        connection.execute(update(outbox).where(outbox.c.id == mail.id).values(**values))


def mark_failed(state: Engine, mail: Mail, error: str, now: datetime, max_attempts: int) -> None:
    """Keep `error` and try again later: after 1, 2, 4 ... minutes, at most an hour; put aside after `max_attempts`."""
    attempts = mail.attempts + 1
    wait = min(timedelta(minutes=2 ** min(attempts - 1, 10)), LONGEST_WAIT)
    values = {
        "attempts": attempts,
        "last_error": error,
        "not_before": now + wait,
        "state": "dead" if attempts >= max_attempts else "waiting",
    }
    with state.begin() as connection:
        connection.execute(update(outbox).where(outbox.c.id == mail.id).values(**values))


def counts(state: Engine) -> dict[str, int]:
    """How many mails are waiting, sent and dead."""
    with reading(state) as connection:
        rows = connection.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state)).all()
    return {"waiting": 0, "sent": 0, "dead": 0} | {row[0]: row[1] for row in rows}
