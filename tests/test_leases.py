"""Leases: one holder at a time, renewed while it lives, free again after it was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from components.state.database import open_state
from components.state.leases import LeaseHeld, LeaseLost, lease

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOLD = """
import sys, time
from components.state.database import open_state
from components.state.leases import lease
with lease(open_state(sys.argv[1]), "training", "other process", float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture
def state(url: str) -> Engine:
    return open_state(url)


@contextmanager
def held_by_another_process(url: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def take(state: Engine, seconds: float = 60) -> int:
    with lease(state, "training", "test", seconds) as held:
        return held.fence


def test_of_two_processes_one_holds_and_the_other_is_told_who(url: str, state: Engine):
    with held_by_another_process(url, seconds=60), pytest.raises(LeaseHeld, match="other process holds 'training'"):
        take(state)


def test_a_killed_holder_frees_the_lease_when_it_expires_and_not_before(url: str, state: Engine):
    with held_by_another_process(url, seconds=1.5) as process:
        time.sleep(2)  # longer than the lease: the heartbeat keeps it
        with pytest.raises(LeaseHeld):
            take(state)
        process.kill()
        killed = time.monotonic()
        with pytest.raises(LeaseHeld):
            take(state)
        while True:
            try:
                assert take(state) == 2
                break
            except LeaseHeld:
                time.sleep(0.05)
        assert time.monotonic() - killed < 2.5


def test_of_many_threads_exactly_one_holds(state: Engine):
    def attempt(number: int) -> bool:
        try:
            with lease(state, "training", str(number), 60):
                time.sleep(0.5)
                return True
        except LeaseHeld:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(attempt, range(12))) == 1


def test_a_lease_is_free_at_once_when_its_block_has_ended_also_by_an_error(state: Engine):
    assert take(state) == 1
    with pytest.raises(ZeroDivisionError), lease(state, "training", "test", 60):
        1 / 0  # noqa: B018
    assert take(state) == 3


def test_leases_of_different_names_do_not_exclude_each_other(state: Engine):
    with lease(state, "training", "test", 60), lease(state, "monitoring", "test", 60):
        pass


def test_a_holder_that_slept_past_its_lease_learns_that_it_was_replaced(state: Engine):
    def later() -> datetime:
        return NOON + timedelta(seconds=61)

    with lease(state, "training", "sleeper", 60, clock=lambda: NOON) as slept:
        slept.check()
        with lease(state, "training", "successor", 60, clock=later) as held:
            with pytest.raises(LeaseLost, match="sleeper lost the lease 'training'"):
                slept.check()
            slept.extend(NOON + timedelta(days=1))
            held.check()
        with lease(state, "training", "third", 60, clock=later) as third:
            assert third.fence == 3, "the sleeper must not have held on to what was no longer its own"
