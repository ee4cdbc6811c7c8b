"""Alerts: one a cause, told once, in words and pictures that no label can turn into markup."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.policy import default
from html.parser import HTMLParser

import numpy as np
import pytest

from components.data.tables import STATISTICS
from components.monitoring.alerts import Finding, ask_for_labels, raise_alert, tell_refusal
from components.monitoring.letters import Letter, compose
from components.monitoring.window import signals_of
from components.settings import load_settings
from components.state.alerts import open_alerts, set_state
from components.state.database import open_predictions, open_state
from components.state.image_store import ImageStore
from components.state.outbox import due
from components.state.predictions import Logged, record
from tests.drawing import draw, encode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOSTILE = '<img src=x onerror=alert(1)>\r\nBcc: everyone@example.org "\u2028\u202e</script>'
FINDING = Finding("drift", "drift-1-200", "Production drifted", ["brightness fell by 31%"], ["brightness"], {}, 1)


@pytest.fixture
def state(workspace):
    return open_state(load_settings(workspace).database_url)


def mails(state):
    return [message_from_string(mail.message, policy=default) for mail in due(state, NOW + timedelta(days=30))]


def logged(workspace, count=6, label="circle", confidence=0.5):
    store = ImageStore(workspace.images)
    rows = [
        Logged(
            request_id=f"r{seed}",
            item=0,
            image_id=store.put(encode(draw("circle", seed))),
            name=None,
            model_version=1,
            engine_digest="e" * 64,
            label=label,
            confidence=confidence,
            margin=seed / 10,
            probabilities={label: confidence},
            format="PNG",
            statistics={name: float(seed) for name in STATISTICS},
            at=NOW,
        )
        for seed in range(count)
    ]
    log = open_predictions(load_settings(workspace).predictions_url)
    record(log, rows)
    return log, rows


def test_the_same_cause_alerts_once(state, workspace, params):
    assert raise_alert(state, workspace, params.alert, FINDING, NOW)
    assert raise_alert(state, workspace, params.alert, FINDING, NOW + timedelta(days=2)) is None
    assert len(open_alerts(state)) == len(mails(state)) == 1


def test_within_the_cool_down_an_alert_is_kept_but_mailed_with_the_next_one(state, workspace, params):
    for hours, key in ((0, "one"), (1, "two"), (params.alert.cooldown_hours + 2, "three")):
        finding = dataclasses.replace(FINDING, key=key)
        raise_alert(state, workspace, params.alert, finding, NOW + timedelta(hours=hours))
    assert len(open_alerts(state)) == 3
    first, second = mails(state)
    assert "Still open" not in first.get_body(("plain",)).get_content()
    assert second.get_body(("plain",)).get_content().count("Still open") == 2


def test_an_alert_of_another_kind_is_mailed_at_once(state, workspace, params):
    raise_alert(state, workspace, params.alert, FINDING, NOW)
    raise_alert(state, workspace, params.alert, dataclasses.replace(FINDING, kind="volume", key="quiet"), NOW)
    assert len(mails(state)) == 2


def test_the_mail_shows_signals_chart_images_and_links(state, workspace, params):
    _, rows = logged(workspace)
    reference, window = signals_of(rows[:3]), signals_of(rows[3:])
    finding = dataclasses.replace(
        FINDING, rows=rows, reference=reference, window=window, links={"MLflow run": "http://127.0.0.1:5000/#/x"}
    )
    raise_alert(state, workspace, params.alert, finding, NOW)
    (message,) = mails(state)
    html = message.get_body(("html",)).get_content()
    pictures = [part["Content-ID"].strip("<>") for part in message.walk() if part.get_content_type() == "image/png"]
    assert message["To"] == "operator@localhost"
    assert "brightness fell by 31%" in html
    assert "brightness fell by 31%" in message.get_body(("plain",)).get_content()
    assert sorted(pictures) == ["chart", *(f"sample-{place}" for place in range(6))]
    assert all(f"cid:{picture}" in html for picture in pictures)
    assert "http://127.0.0.1:5000/#/x" in html


def test_a_hostile_label_adds_no_header_and_no_markup(state, workspace, params):
    _, rows = logged(workspace, label=HOSTILE)
    both = signals_of(rows)
    hostile = Finding(
        "drift", "k", HOSTILE, [HOSTILE], ["predicted_class"], {}, 1, rows, both, both, {"run": "http://x"}
    )
    raise_alert(state, workspace, params.alert, hostile, NOW)
    (message,) = mails(state)
    assert {name.lower() for name in message.keys()} == {"from", "to", "subject", "mime-version", "content-type"}  # noqa: SIM118
    assert len(message["Subject"]) <= 120
    tags = Tags()
    tags.feed(message.get_body(("html",)).get_content())
    assert tags.found.count("img") == 1 + 6
    assert not tags.attributes & {"onerror", "onload"}
    assert "script" not in tags.found


def test_people_are_asked_once_for_the_least_certain_images(state, workspace, params):
    log, rows = logged(workspace)
    alert = raise_alert(
        state, workspace, params.alert, dataclasses.replace(FINDING, detail={"first_prediction": 3}), NOW
    )
    assert "4 least certain" in ask_for_labels(state, log, workspace, params, [alert], NOW)
    assert "already" in ask_for_labels(state, log, workspace, params, open_alerts(state), NOW)
    body = mails(state)[-1].get_body(("plain",)).get_content()
    assert [row.request_id in body for row in rows] == [False, False, True, True, True, True]
    assert "/feedback" in body


def test_a_settled_alert_is_no_longer_open(state, workspace, params):
    alert = raise_alert(state, workspace, params.alert, FINDING, NOW)
    set_state(state, [alert], "resolved", NOW, flow_run_id="abc")
    assert open_alerts(state) == []


def test_a_refused_challenger_is_told_with_its_reasons(state, params):
    tell_refusal(state, params.alert, 8, ["class cat lost 12 points"], NOW)
    assert "class cat lost 12 points" in mails(state)[0].get_body(("plain",)).get_content()


def test_unreadable_image_bytes_do_not_stop_a_mail(params):
    message = compose(Letter("t", "l", samples=[(b"no image", "broken")]), params.alert)
    assert np.count_nonzero([part.get_content_type() == "image/png" for part in message.walk()]) == 1


class Tags(HTMLParser):
    """Names of the elements and attributes that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}
