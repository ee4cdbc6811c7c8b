"""Findings -> alerts: one row a cause, and the mail that tells people about it, in one transaction.

In: what the checks found. Out: rows of `alerts` and `outbox`. A cause is raised once; within the cool-down a further
alert of the same kind about the same model gets no mail of its own, but the next mail lists it. What to do about
an alert is `components.monitoring.retrain`; sending is `components.monitoring.mail`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from components.monitoring.charts import drift_chart
from components.monitoring.letters import Letter, compose, plain
from components.monitoring.window import Signals
from components.params import AlertParams, Params
from components.state.alerts import Alert, add, last_of, open_alerts, set_state
from components.state.image_store import ImageStore, ImageStoreError
from components.state.ledger import Promotion
from components.state.outbox import enqueue
from components.state.predictions import Logged, least_certain
from components.tasks.drawn_labels import draw_over
from components.workspace import Workspace

SAMPLES = 6
SHOWN = 18  # of the images to label


@dataclass(frozen=True)
class Finding:
    """One cause for concern, as a check found it. `rows`, `reference` and `window` illustrate it."""

    kind: str
    key: str
    title: str
    words: Sequence[str]
    signals: Sequence[str] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    model_version: int | None = None
    rows: Sequence[Logged] = ()
    reference: Signals | None = None
    window: Signals | None = None
    links: Mapping[str, str] = field(default_factory=dict)


def raise_alert(
    state: Engine, workspace: Workspace, params: AlertParams, finding: Finding, now: datetime
) -> Alert | None:
    """Write the alert and its mail, both or neither; None when this cause was raised before."""
    earlier = [each for each in open_alerts(state) if each.key != finding.key]
    message = compose(_letter(workspace, finding, earlier), params)
    with state.begin() as connection:
        last = last_of(connection, finding.kind, finding.model_version)
        facts = (finding.signals, finding.detail, finding.model_version)
        alert = add(connection, finding.kind, finding.key, *facts, now)
        cool = last is None or now - last.at >= timedelta(hours=params.cooldown_hours)
        if alert and cool:
            enqueue(connection, f"alert-{alert.id}", message, now)
    return alert


def ask_for_labels(
    state: Engine, log: Engine, workspace: Workspace, params: Params, alerts: Sequence[Alert], now: datetime
) -> str:
    """Mail which images would teach the model most, once for each alert; return a line for people."""
    asking = [alert for alert in alerts if alert.state != "asked" and alert.model_version is not None]
    if not asking:
        return "People were asked for labels already."
    version = max(alert.model_version or 0 for alert in asking)
    after = min(int(alert.detail.get("first_prediction", 1)) - 1 for alert in asking)
    rows = least_certain(log, version, after, params.retrain.ask_for)
    message = compose(_asking(workspace, rows), params.alert)
    with state.begin() as connection:
        enqueue(connection, f"labels-{asking[-1].id}", message, now)
    set_state(state, asking, "asked", now)
    return f"Asked by mail for labels of the {len(rows)} least certain images."


def announce(connection: Connection, promotion: Promotion, params: AlertParams, now: datetime) -> None:
    """Enqueue the mail about a new champion in the transaction that notes its announcement."""
    reasons = [str(each) for each in promotion.verdict.get("reasons", ())]
    title = f"Model v{promotion.version} serves now ({promotion.action})"
    letter = Letter(title, f"Decided by: {promotion.actor}.", reasons)
    enqueue(connection, f"champion-{promotion.id}", compose(letter, params), now)


def tell_refusal(state: Engine, params: AlertParams, version: int, reasons: Sequence[str], now: datetime) -> None:
    """Mail that a retraining ended without a new champion, and why."""
    letter = Letter(f"Retraining: model v{version} was not promoted", "The champion serves on.", reasons)
    with state.begin() as connection:
        enqueue(connection, f"refused-{version}-{now:%Y%m%d%H%M%S}", compose(letter, params), now)


def _letter(workspace: Workspace, finding: Finding, earlier: Sequence[Alert]) -> Letter:
    chart = None
    if finding.reference is not None and finding.window is not None:
        chart = drift_chart(finding.reference, finding.window, finding.signals)
    also = [
        f"Still open: {each.kind} since {each.at:%Y-%m-%d %H:%M} UTC ({', '.join(each.signals)})" for each in earlier
    ]
    lead = "What was noticed in production, the farthest from normal first:"
    spread = finding.rows[:: max(1, len(finding.rows) // SAMPLES)][:SAMPLES]
    samples = _samples(workspace, spread)
    points = [*finding.words, *also]
    return Letter(finding.title, lead, points, chart, samples, "Images of this window", links=finding.links)


def _asking(workspace: Workspace, rows: Sequence[Logged]) -> Letter:
    lead = (
        "Production has drifted and there are too few labels to learn from. The model was least certain of these "
        "images: tell it what they show, and the next look starts a retraining."
    )
    points = [f"request {row.request_id} item {row.item}: {row.label}? ({row.confidence:.0%})" for row in rows[:SHOWN]]
    example = points and {"request_id": rows[0].request_id, "item": rows[0].item, "label": "THE TRUE LABEL"}
    code = f"curl -X POST http://127.0.0.1:8080/feedback -H 'content-type: application/json' -d '{json.dumps(example)}'"
    samples = _samples(workspace, rows[:SHOWN])
    title = f"{len(rows)} images to label"
    return Letter(title, lead, points, None, samples, "The first of them", code, table=("to-label.csv", _csv(rows)))


def _csv(rows: Sequence[Logged]) -> str:
    """One line an image; a label that a spreadsheet would take for a formula is quoted."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["request_id", "item", "predicted", "confidence"])
    for row in rows:
        label = f"'{row.label}" if row.label[:1] in "=+-@" else row.label
        table.writerow([row.request_id, row.item, plain(label), f"{row.confidence:.3f}"])
    return text.getvalue()


def _samples(workspace: Workspace, rows: Sequence[Logged]) -> list[tuple[bytes, str]]:
    store, found = ImageStore(workspace.images), []
    for row in rows:
        try:
            picture = draw_over(store.read(row.image_id), row.answer)
            found.append((picture, f"{row.label} {row.confidence:.0%}"))
        except ImageStoreError:
            continue  # removed or damaged: the mail does without it
    return found
