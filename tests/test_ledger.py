"""The ledger: one row is the cause, exactly one of many deciders adds it, and it can be undone by one more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from components.state.database import StateError, open_state
from components.state.ledger import (
    LostRace,
    Model,
    champion,
    history,
    mark_announced,
    model,
    newest_model,
    predecessor,
    promote,
    record_model,
    record_verdict,
    unannounced,
    withdrawn,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(f"sqlite:///{tmp_path}/state.db")


def decide(state: Engine, version: int, seen: int) -> int:
    return promote(state, version, f"digest {version}", seen, "test", {"decision": "promote"}, NOON).id


def race(url: str, first: int, rounds: int) -> list[tuple[int, int]]:
    """(row seen, row written) of each round won; in every round all racers saw the same newest row."""
    state, won = open_state(url), []
    for _ in range(rounds):
        newest = champion(state)
        seen = newest.id if newest else 0
        try:
            won.append((seen, decide(state, first, seen)))
        except LostRace:
            continue
    return won


def assert_one_chain(state: Engine, won: Sequence[tuple[int, int]]) -> None:
    """Each row was written by exactly one winner, on top of the row just before it."""
    rows = [(row.seen, row.id) for row in history(state)]
    assert sorted(won) == rows
    assert [seen for seen, _ in rows] == [0, *[row for _, row in rows[:-1]]]


def test_before_the_first_decision_nobody_serves(state: Engine):
    assert champion(state) is None
    assert predecessor(state) is None


def test_the_newest_decision_names_the_champion(state: Engine):
    decide(state, 1, seen=0)
    decide(state, 2, seen=1)
    newest = champion(state)
    assert newest is not None
    assert (newest.version, newest.digest, newest.actor, newest.at) == (2, "digest 2", "test", NOON)


@pytest.mark.parametrize("seen", [0, 2, 99])
def test_a_decision_made_on_any_but_the_newest_row_is_refused(state: Engine, seen: int):
    decide(state, 1, seen=0)
    with pytest.raises(LostRace):
        decide(state, 2, seen)
    assert len(history(state)) == 1


def test_of_many_threads_that_saw_the_same_champion_exactly_one_promotes(state: Engine):
    def attempt(version: int) -> bool:
        try:
            return bool(decide(state, version, seen=0))
        except LostRace:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(64))) == 1
    assert len(history(state)) == 1


def test_of_many_processes_and_threads_racing_each_row_has_exactly_one_winner(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/state.db"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as processes, ThreadPoolExecutor(3) as threads:
        racers = [pool.submit(race, url, number, 50) for number, pool in enumerate([processes, threads] * 3)]
        won = [each for racer in racers for each in racer.result()]
    assert_one_chain(open_state(url), won)


def test_a_rollback_leads_to_the_model_that_served_before(state: Engine):
    for version in (1, 2, 3):
        decide(state, version, seen=version - 1)
    for expected in (2, 1):
        before = predecessor(state)
        assert before is not None
        assert before.version == expected
        newest = history(state)[-1].id
        promote(state, before.version, before.digest, newest, "operator", {}, NOON, action="rollback")
    assert predecessor(state) is None
    assert [row.version for row in history(state)] == [1, 2, 3, 2, 1]


def test_after_a_rollback_the_next_champion_rolls_back_to_the_model_it_replaced(state: Engine):
    for seen, version in enumerate((1, 2, 1, 3)):
        decide(state, version, seen)
    before = predecessor(state)
    assert before is not None
    assert before.version == 1


def test_a_model_that_was_rolled_back_from_is_withdrawn_until_somebody_puts_it_back(state: Engine):
    for version in (1, 2):
        decide(state, version, seen=version - 1)
    assert withdrawn(state) == set()
    for seen, version in ((2, 1), (3, 2)):
        promote(state, version, f"digest {version}", seen, "operator", {}, NOON, action="rollback")
        assert withdrawn(state) == {f"digest {3 - version}"}


def test_a_decision_is_announced_exactly_once(state: Engine):
    decide(state, 1, seen=0)
    (row,) = unannounced(state)
    told: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        firsts = pool.map(lambda _: mark_announced(state, row, NOON, lambda _, each: told.append(each.id)), range(8))
        assert sum(firsts) == 1
    assert told == [1]
    assert unannounced(state) == []


def test_a_decision_whose_announcement_fails_is_announced_again(state: Engine):
    decide(state, 1, seen=0)
    (row,) = unannounced(state)
    with pytest.raises(ZeroDivisionError):
        mark_announced(state, row, NOON, lambda _, each: print(each.id / 0))
    assert unannounced(state) == [row]


def known(state: Engine, version: int) -> Model:
    record_model(state, version, "abc", "run", "data", {"top1": 0.9}, {"target": "openvino"}, NOON)
    found = model(state, version)
    assert found is not None
    return found


def test_a_refused_model_is_remembered_with_the_reason(state: Engine):
    assert known(state, 4).verdict is None
    record_verdict(state, 4, {"decision": "reject"})
    found = newest_model(state)
    assert found is not None
    assert (found.version, found.metrics, found.verdict, found.at) == (4, {"top1": 0.9}, {"decision": "reject"}, NOON)


def test_a_model_is_called_promoted_only_together_with_the_row_that_makes_it_serve(state: Engine):
    known(state, 1)
    with pytest.raises(LostRace):
        decide(state, 1, seen=7)
    assert known(state, 1).verdict is None
    decide(state, 1, seen=0)
    found = model(state, 1)
    assert found is not None
    assert found.verdict == {"decision": "promote"}


def test_a_verdict_about_an_unregistered_model_is_refused(state: Engine):
    assert model(state, 4) is None
    with pytest.raises(StateError, match="Model 4 is not in the ledger"):
        record_verdict(state, 4, {})
