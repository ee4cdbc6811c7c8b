"""Leases: of many processes, on one machine or several, one at a time may do a named job.

In: a name, an owner, a number of seconds. Out: a block that runs only while nobody else holds the name. A heartbeat
renews the lease; when the holder is killed, it expires by itself and the next one gets it. A holder that was asleep
past its expiry finds out by `check`: its fence is no longer the newest. Machines that share a database need clocks
that differ by much less than the lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError, OperationalError

from components.state.database import StateError, leases, reading

BEATS = 4  # renewals in the life of a lease: three may fail before it expires
Clock = Callable[[], datetime]


class LeaseHeld(StateError):
    """Somebody else is doing this job."""


class LeaseLost(StateError):
    """This process was away for longer than its lease, and somebody else has taken over; it must stop."""


@dataclass(frozen=True)
class Lease:
    state: Engine
    name: str
    owner: str
    fence: int  # grows by one with each holder

    def check(self) -> None:
        """Raise LeaseLost when somebody else has taken over; call before an effect that cannot be undone."""
        with reading(self.state) as connection:
            newest = connection.scalar(select(leases.c.fence).where(leases.c.name == self.name))
        if newest != self.fence:
            raise LeaseLost(
                f"{self.owner} lost the lease {self.name!r}: its fence is {self.fence}, now it is {newest}."
            )

    def extend(self, until: datetime) -> None:
        """Hold until `until`, unless somebody else has taken over. A database that is away is left to the next beat."""
        mine = (leases.c.name == self.name) & (leases.c.fence == self.fence)
        with suppress(OperationalError), self.state.begin() as connection:
            connection.execute(leases.update().where(mine).values(expires_at=until))


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def lease(state: Engine, name: str, owner: str, seconds: float, clock: Clock = _utc_now) -> Iterator[Lease]:
    """Hold `name` for the length of the block, renewing it; raise LeaseHeld when another holds it.

    `seconds` after a kill of the holder the lease is free again; after a normal end, or an error, at once.
    """
    held = _take(state, name, owner, seconds, clock())
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(held, seconds, clock, stop), name=f"lease {name}", daemon=True)
    heart.start()
    try:
        yield held
    finally:
        stop.set()
        heart.join()
        held.extend(clock())


def is_held(state: Engine, name: str, now: datetime) -> bool:
    """Whether somebody does this job at the moment."""
    with reading(state) as connection:
        expires = connection.scalar(select(leases.c.expires_at).where(leases.c.name == name))
    return expires is not None and expires > now


def _take(state: Engine, name: str, owner: str, seconds: float, now: datetime) -> Lease:
    until = now + timedelta(seconds=seconds)
    try:
        with state.begin() as connection:
            before = connection.execute(select(leases).where(leases.c.name == name).with_for_update()).one_or_none()
            if before is None:
                connection.execute(leases.insert().values(name=name, owner=owner, fence=1, expires_at=until))
                return Lease(state, name, owner, 1)
            if before.expires_at > now:
                left = (before.expires_at - now).total_seconds()
                raise LeaseHeld(f"{before.owner} holds {name!r}, for another {left:.0f} s or until it has ended.")
            taken = {"owner": owner, "fence": before.fence + 1, "expires_at": until}
            connection.execute(leases.update().where(leases.c.name == name).values(taken))
            return Lease(state, name, owner, before.fence + 1)
    except IntegrityError:  # Postgres: another inserted the first row at the same moment
        raise LeaseHeld(f"Another process has just taken {name!r}.") from None


def _beat(held: Lease, seconds: float, clock: Clock, stop: threading.Event) -> None:
    while not stop.wait(seconds / BEATS):
        held.extend(clock() + timedelta(seconds=seconds))
