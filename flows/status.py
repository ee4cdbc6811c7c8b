"""How a workspace stands: its data, champion, challenger, drift, alerts, mail and running services.

In: a workspace and its settings. Out: one object that `status --json` prints as it is, and the same in words. Only
small tables are read, so it answers in under two seconds and without any model or vendor; nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Engine

from components.params import load_params
from components.settings import Settings
from components.state import outbox, windows
from components.state.alerts import Alert, open_alerts
from components.state.database import open_state
from components.state.ledger import Model, Promotion, champion, model, newest_model
from components.tasks import task_named
from components.versioning import data_version
from components.workspace import Workspace
from flows.processes import read_up

Status = dict[str, Any]


def read_status(workspace: Workspace, settings: Settings) -> Status:
    """Everything at once; what does not exist yet is null, an empty list or 0. Times are UTC."""
    state = open_state(settings.database_url)
    now_serving = champion(state)
    newest = newest_model(state)
    is_challenger = newest is not None and (now_serving is None or newest.version != now_serving.version)
    return {
        "dataset": _dataset(workspace),
        "champion": _champion(now_serving, model(state, now_serving.version)) if now_serving else None,
        "challenger": _challenger(newest) if newest and is_challenger else None,
        "drift": _drift(state, now_serving),
        "alerts": [_alert(each) for each in open_alerts(state)],
        "review_queue": 0,
        "outbox": outbox.counts(state),
        "services": read_up(workspace),
    }


def in_words(status: Status) -> list[tuple[str, str]]:
    """`status` as (subject, sentence), for a table or for lines."""
    data, mail = status["dataset"], status["outbox"]
    return [
        ("dataset", f"{data['images']:,} images of {_several(len(data['classes']), 'class')}{_list(data['splits'])}"),
        ("set aside", f"{data['quarantined']:,} quarantined, {data['conflicts']:,} in conflict"),
        ("champion", _model_in_words(status["champion"]) or "none yet; `visionloop run` makes one"),
        ("challenger", _model_in_words(status["challenger"]) or "none"),
        ("drift", _drift_in_words(status["drift"])),
        ("alerts", "; ".join(_alert_in_words(each) for each in status["alerts"]) or "none open"),
        ("to review", _several(status["review_queue"], "image")),
        ("mail", f"{mail['waiting']} waiting, {mail['sent']} sent, {mail['dead']} given up"),
        ("running", ", ".join(f"{name} {url}" for name, url in status["services"].items()) or "nothing"),
    ]


def _model_in_words(model: Status | None) -> str:
    if model is None:
        return ""
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in list(model["metrics"].items())[:3])
    engine = model["engine"]
    speed = f", {engine['speedup']:.1f}x fp32" if engine["speedup"] else ""
    verdict = f"; {model['verdict']['decision'].replace('_', ' ')}" if model.get("verdict") else ""
    when = f"; since {model['promoted_at']}" if "promoted_at" in model else verdict
    return f"v{model['version']}: {metrics} ({engine['target']} {engine['precision']}{speed}){when}"


def _drift_in_words(drift: Status) -> str:
    if drift["window"] is None:
        return "no champion" if drift["verdict"] is None else "not enough predictions yet"
    drifted = [each["name"] for each in drift["signals"] if each.get("drifted")]
    return f"{drift['verdict']} in the last {drift['window']['size']} predictions{_list(drifted)}"


def _alert_in_words(alert: Status) -> str:
    return f"{alert['kind']} ({alert['state']}, {alert['at']})"


def _list(values: Mapping[str, int] | list[str]) -> str:
    """`values` behind a colon; nothing when there are none."""
    words = [f"{name} {count:,}" for name, count in values.items()] if isinstance(values, Mapping) else values
    return f": {', '.join(words)}" if words else ""


def _several(count: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def _dataset(workspace: Workspace) -> Status:
    return {
        "images": _rows(workspace.manifest),
        "quarantined": _rows(workspace.quarantine),
        "conflicts": _rows(workspace.conflicts),
        "classes": _classes(workspace),
        "splits": _counts(workspace.splits, "split"),
        "version": data_version(workspace) if workspace.manifest.is_file() else None,
    }


def _classes(workspace: Workspace) -> dict[str, int]:
    """How many labelled images show each class."""
    shown = task_named(load_params(workspace.params).task).shown
    counts = _counts(workspace.labels, "label")
    found: Counter[str] = Counter()
    for label, images in counts.items():
        found.update(dict.fromkeys(shown(label), images))
    return dict(sorted(found.items()))


def _rows(table: Path) -> int:
    return int(pq.read_metadata(table).num_rows) if table.is_file() else 0


def _counts(table: Path, column: str) -> dict[str, int]:
    """How often each value of `column` occurs, in order of the values."""
    if not table.is_file():
        return {}
    return dict(sorted(Counter(pq.read_table(table, columns=[column])[column].to_pylist()).items()))


def _champion(decision: Promotion, known: Model | None) -> Status:
    return {
        "version": decision.version,
        "digest": decision.digest,
        "metrics": dict(known.metrics) if known else {},
        "engine": _engine(known.engine if known else {}),
        "data_version": known.data_version if known else None,
        "promoted_at": _iso(decision.at),
        "action": decision.action,
        "actor": decision.actor,
    }


def _challenger(newest: Model) -> Status:
    return {
        "version": newest.version,
        "digest": newest.digest,
        "metrics": dict(newest.metrics),
        "engine": _engine(newest.engine),
        "data_version": newest.data_version,
        "verdict": newest.verdict,
        "registered_at": _iso(newest.at),
    }


def _engine(found: Mapping[str, Any]) -> Status:
    return {name: found.get(name) for name in ("target", "precision", "speedup")}


def _drift(state: Engine, serving: Promotion | None) -> Status:
    """The newest judged window of the champion; before the first its verdict is `insufficient`."""
    judged = windows.of_model(state, serving.version) if serving else []
    if not judged:
        return {"verdict": "insufficient" if serving else None, "window": None, "signals": []}
    newest = judged[-1]
    shown = ("id", "size", "first_prediction", "last_prediction", "report")
    window = {name: getattr(newest, name) for name in shown} | {"at": _iso(newest.at)}
    return {"verdict": newest.verdict, "window": window, "signals": newest.signals}


def _alert(alert: Alert) -> Status:
    shown = ("id", "kind", "state", "signals", "model_version")
    return {name: getattr(alert, name) for name in shown} | {"at": _iso(alert.at)}


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
