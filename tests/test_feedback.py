"""One label an author and image: the newest holds, enters the dataset once, and measures the model that answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from components.state.database import open_predictions, open_state
from components.state.feedback import FeedbackError, give, labelled, mark_merged, unmerged
from components.state.predictions import record
from tests.test_predictions import ROW

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(f"sqlite:///{tmp_path / 'state.db'}")


@pytest.fixture
def log(tmp_path: Path) -> Engine:
    return open_predictions(f"sqlite:///{tmp_path / 'predictions.db'}")


def say(state: Engine, label: str, author: str = "ann", request_id: str = "r1", minutes: int = 0) -> None:
    give(state, request_id, 0, label, author, "feedback", NOON + timedelta(minutes=minutes))


def test_an_author_may_change_their_mind(state: Engine) -> None:
    say(state, "cat")
    say(state, "dog", minutes=1)
    [only] = unmerged(state)
    assert (only.label, only.at) == ("dog", NOON + timedelta(minutes=1))


def test_a_merged_label_is_not_merged_again_when_repeated(state: Engine) -> None:
    say(state, "cat")
    mark_merged(state, unmerged(state), NOON)
    say(state, "cat", minutes=1)
    assert unmerged(state) == []


def test_a_merged_label_that_changes_is_merged_again(state: Engine) -> None:
    say(state, "cat")
    mark_merged(state, unmerged(state), NOON)
    say(state, "dog", minutes=1)
    assert [row.label for row in unmerged(state)] == ["dog"]


def test_a_label_that_changes_while_it_is_merged_stays_unmerged(state: Engine) -> None:
    say(state, "cat")
    being_merged = unmerged(state)
    say(state, "dog", minutes=1)
    mark_merged(state, being_merged, NOON)
    assert [row.label for row in unmerged(state)] == ["dog"]


@pytest.mark.parametrize("label", ["", "  \t", "x" * 2_000_001, "a\nb", "nul\0", "\ud800"])
def test_a_label_that_cannot_be_kept_is_refused(state: Engine, label: str) -> None:
    with pytest.raises(FeedbackError, match="The label"):
        say(state, label)
    assert unmerged(state) == []


def test_labels_are_kept_in_any_script_and_without_outer_spaces(state: Engine) -> None:
    say(state, " <b>кот 👨\u200d👩\u200d👧</b> ")
    assert unmerged(state)[0].label == "<b>кот 👨\u200d👩\u200d👧</b>"


def test_labelled_gives_the_answers_of_one_model_with_the_last_word_on_each(state: Engine, log: Engine) -> None:
    record(log, [replace(ROW, request_id=f"r{i}", model_version=1 + i // 3) for i in range(4)])
    say(state, "dog", "bob", "r0", minutes=2)
    say(state, "cat", "ann", "r0", minutes=1)
    say(state, "cat", "ann", "r2")
    say(state, "cat", "ann", "r3")
    say(state, "cat", "ann", "gone")
    found = labelled(state, log, version=1)
    assert [(each.prediction.request_id, each.truth, each.right) for each in found] == [
        ("r0", "dog", False),
        ("r2", "cat", True),
    ]
    assert [each.prediction.request_id for each in labelled(state, log, 1, after_id=1)] == ["r2"]
