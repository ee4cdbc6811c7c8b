"""Judged windows: each prediction in exactly one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from components.state.database import open_state
from components.state.windows import last_prediction, of_model, record

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path):
    return open_state(f"sqlite:///{tmp_path}/state.db")


def test_a_window_is_judged_once_however_many_look(state):
    assert record(state, 1, 1, 200, 200, "ok", [{"name": "brightness"}], None, NOW)
    assert not record(state, 1, 1, 200, 200, "alert", [], None, NOW)
    assert [window.verdict for window in of_model(state, 1)] == ["ok"]


def test_the_next_window_starts_behind_the_last_one_of_the_same_model(state):
    record(state, 1, 1, 200, 200, "ok", [], None, NOW)
    record(state, 2, 201, 420, 200, "ok", [], None, NOW)
    assert [last_prediction(state, version) for version in (1, 2, 3)] == [200, 420, 0]
