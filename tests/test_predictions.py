"""The prediction log gives back what was recorded, in order; a batch is recorded whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from components.state.database import open_predictions
from components.state.predictions import Logged, by_items, by_request, count, least_certain, newest, record, since

ROW = Logged(
    request_id="r1",
    item=0,
    image_id="ab" * 32,
    name="cat <b>.png",
    model_version=1,
    engine_digest="cd" * 32,
    label="cat",
    confidence=0.9,
    margin=0.8,
    probabilities={"cat": 0.9, "dog": 0.1},
    format="PNG",
    statistics={"brightness": 0.5},
    at=datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC),
)


@pytest.fixture
def log(tmp_path: Path) -> Engine:
    return open_predictions(f"sqlite:///{tmp_path / 'predictions.db'}")


def test_a_row_comes_back_as_it_was_recorded(log: Engine) -> None:
    record(log, [ROW])
    assert by_request(log, "r1") == [replace(ROW, id=1)]
    assert by_request(log, "unknown") == []


def test_since_pages_through_one_model_in_order(log: Engine) -> None:
    record(log, [replace(ROW, request_id=f"r{i}", model_version=1 + i % 2) for i in range(10)])
    first = since(log, 1, after_id=0, limit=3)
    rest = since(log, 1, after_id=first[-1].id, limit=3)
    assert [row.request_id for row in first + rest] == ["r0", "r2", "r4", "r6", "r8"]


def test_an_item_logged_twice_fails_its_whole_batch(log: Engine) -> None:
    record(log, [ROW])
    with pytest.raises(IntegrityError):
        record(log, [replace(ROW, request_id="r2"), ROW])
    assert count(log) == 1


def test_recording_nothing_is_allowed(log: Engine) -> None:
    record(log, [])
    assert (count(log), newest(log)) == (0, None)


def test_count_and_newest_are_of_all_or_of_one_model(log: Engine) -> None:
    record(log, [replace(ROW, request_id=f"r{i}", model_version=1 + i // 2) for i in range(3)])
    assert (count(log), count(log, 1), count(log, 2)) == (3, 2, 1)
    assert [newest(log), newest(log, 1)] == [by_request(log, "r2")[0], by_request(log, "r1")[0]]


def test_many_items_are_found_at_once(log: Engine) -> None:
    record(log, [replace(ROW, request_id=f"r{i}", item=item) for i in range(600) for item in range(2)])
    wanted = [(f"r{i}", 1) for i in range(600)] + [("unknown", 0), ("r1", 7)]
    found = by_items(log, wanted)
    assert len(found) == 600
    assert all(row.item == 1 and row.request_id == request_id for (request_id, _), row in found.items())


def test_the_least_certain_come_first(log: Engine) -> None:
    record(log, [replace(ROW, request_id=f"r{i}", margin=margin) for i, margin in enumerate([0.5, 0.1, 0.9, 0.3])])
    assert [row.margin for row in least_certain(log, 1, after_id=0, limit=2)] == [0.1, 0.3]
    assert [row.margin for row in least_certain(log, 1, after_id=2, limit=2)] == [0.3, 0.9]
