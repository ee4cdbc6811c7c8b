"""The outbox: a mail is enqueued once with its cause, and tried until it is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest
from sqlalchemy import Engine

from components.state.database import open_state
from components.state.outbox import counts, due, enqueue, mark_failed, mark_sent

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path) -> Engine:
    return open_state(f"sqlite:///{tmp_path}/state.db")


def put(state: Engine, key: str) -> bool:
    message = EmailMessage()
    message["Subject"] = key
    with state.begin() as connection:
        return enqueue(connection, key, message, NOW)


def test_a_key_is_enqueued_once(state):
    assert put(state, "alert-1")
    assert not put(state, "alert-1")
    assert [mail.key for mail in due(state, NOW)] == ["alert-1"]


def test_a_mail_vanishes_with_the_transaction_that_was_to_cause_it(state):
    connection = state.connect()
    enqueue(connection, "alert-1", EmailMessage(), NOW)
    connection.rollback()
    connection.close()
    assert due(state, NOW) == []


def test_a_failed_mail_waits_longer_each_time_and_is_put_aside_in_the_end(state):
    put(state, "alert-1")
    now, waits = NOW, []
    while mails := due(state, now):
        mark_failed(state, mails[0], "refused", now, max_attempts=4)
        later = next(
            (now + timedelta(minutes=each) for each in range(90) if due(state, now + timedelta(minutes=each))), None
        )
        if later is None:
            break
        waits.append((later - now).seconds // 60)
        now = later
    assert waits == [1, 2, 4]
    assert counts(state) == {"waiting": 0, "sent": 0, "dead": 1}


def test_a_sent_mail_is_never_due_again(state):
    put(state, "alert-1")
    mark_sent(state, due(state, NOW)[0], NOW)
    assert due(state, NOW + timedelta(days=9)) == []
    assert counts(state)["sent"] == 1
