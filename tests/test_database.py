"""Our own database: opened by many at once, read without blocking writers, never by an older program."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, inspect, select, update

from components.state.database import (
    StateError,
    leases,
    metadata,
    open_predictions,
    open_state,
    reading,
    schema_version,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(f"sqlite:///{tmp_path}/state.db")


def hold(name: str, at: datetime = NOON) -> dict[str, object]:
    return {"name": name, "owner": "test", "fence": 1, "expires_at": at}


def test_many_processes_may_open_a_new_database_at_once(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/state.db"
    opening = f"from components.state.database import open_state; open_state({url!r}).dispose()"
    processes = [subprocess.Popen([sys.executable, "-c", opening], stderr=subprocess.PIPE) for _ in range(6)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert errors == [""] * 6
    assert set(inspect(open_state(url)).get_table_names()) == set(metadata.tables)


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_its_work(state: Engine):
    with state.begin() as writer:
        writer.execute(insert(leases).values(hold("training")))
        with reading(state) as reader:
            assert reader.execute(select(leases)).all() == []
    with reading(state) as reader:
        assert len(reader.execute(select(leases)).all()) == 1


def test_a_reader_sees_one_moment_of_the_database(state: Engine):
    with reading(state) as reader:
        before = reader.execute(select(leases)).all()
        with state.begin() as writer:
            writer.execute(insert(leases).values(hold("training")))
        assert reader.execute(select(leases)).all() == before


def test_writers_that_read_first_wait_for_each_other_and_lose_nothing(state: Engine):
    """With SQLite's usual BEGIN the second of two such writers is refused at once, whatever the timeout."""
    with state.begin() as writer:
        writer.execute(insert(leases).values(hold("training")))

    def add_one(_: int) -> None:
        with state.begin() as writer:
            fence = writer.scalar(select(leases.c.fence))
            writer.execute(update(leases).values(fence=fence + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(100)))
    with reading(state) as reader:
        assert reader.scalar(select(leases.c.fence)) == 101


def test_times_come_back_in_utc_whatever_the_zone_they_came_in(state: Engine):
    tokyo = timezone(timedelta(hours=9))
    with state.begin() as writer:
        writer.execute(insert(leases).values(hold("training", datetime(2026, 11, 22, 21, tzinfo=tokyo))))
    with reading(state) as reader:
        assert reader.scalar(select(leases.c.expires_at)) == NOON
        assert reader.scalar(select(leases.c.name).where(leases.c.expires_at <= NOON)) == "training"


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path, state: Engine):
    with state.begin() as writer:
        writer.execute(update(schema_version).values(version=99))
    with pytest.raises(StateError, match="its schema is 99"):
        open_state(f"sqlite:///{tmp_path}/state.db")


def test_state_and_predictions_may_share_one_database(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/all.db"
    open_state(url)
    assert {"predictions", "promotions"} <= set(inspect(open_predictions(url)).get_table_names())
