"""One look at production: each complete window that is waiting, the labelled answers, the served engine, traffic.

In: a workspace with a champion. Out: a `MonitorResult`; rows of `windows`, and an alert with its mail for each new
cause. A window is judged once, in the order of the log, however often and by however many processes this is called. An
alert is written before the window that brought it about, so that a kill in between raises it again and not never.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from components.monitoring.accuracy import labelled_accuracy, rescored, volume
from components.monitoring.alerts import Finding, raise_alert
from components.monitoring.drift import SignalDrift, WindowVerdict, decide, good_windows, judge_window
from components.monitoring.evidence import write_evidence
from components.monitoring.window import Signals, Window, read_reference, read_window, window_size
from components.params import MonitorParams, Params
from components.registry.bundle import Bundle, open_bundle
from components.report import Silent
from components.state import predictions, windows
from components.state.alerts import Alert, open_alerts, set_state
from components.state.feedback import labelled
from components.state.ledger import Promotion, champion
from components.state.windows import JudgedWindow
from components.tasks import task_named
from components.workspace import Workspace, replace_file

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data.dataset import ImageSet

RESCORE_EVERY = timedelta(days=1)


@dataclass(frozen=True)
class MonitorResult:
    """What one look found. `lines` are for people."""

    lines: list[str] = field(default_factory=list)
    windows: list[JudgedWindow] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """What all checks need: where, how, about which champion, when, and the links for mails."""

    workspace: Workspace
    params: Params
    state: Engine
    log: Engine
    serving: Promotion
    bundle: Bundle
    now: datetime
    links: Mapping[str, str]

    def alert(self, finding: Finding) -> list[Alert]:
        """Raise `finding` unless an alert of its kind about this champion is open.

        One that training can mend is raised beside one that it cannot: else a dim camera would hide a new class.
        """
        same = (finding.kind, self.serving.version)
        known = [each for each in open_alerts(self.state) if (each.kind, each.model_version) == same]
        mendable = set(self.params.retrain.signals)
        if any(mendable & set(each.signals) or not mendable & set(finding.signals) for each in known):
            return []
        raised = raise_alert(self.state, self.workspace, self.params.alert, finding, self.now)
        return [raised] if raised else []


def check(
    workspace: Workspace, params: Params, state: Engine, log: Engine, now: datetime, links: Mapping[str, str]
) -> MonitorResult:
    """Look at everything once; raise BundleError when the champion's files are damaged."""
    serving = champion(state)
    if serving is None:
        return MonitorResult(["No champion serves yet, so there is nothing to watch."])
    bundle = open_bundle(workspace.models, serving.digest)
    look = Look(workspace, params, state, log, serving, bundle, now, links)
    drift = check_drift(look)
    parts = [drift, check_accuracy(look), check_volume(look), check_champion(look)]
    return MonitorResult(
        [line for part in parts for line in part.lines],
        drift.windows,
        [alert for part in parts for alert in part.alerts],
    )


def check_drift(look: Look) -> MonitorResult:
    """Judge every complete window that has not been judged."""
    reference = read_reference(look.bundle.path)
    size = window_size(len(reference), look.params.monitor)
    result = MonitorResult()
    while True:
        after = windows.last_prediction(look.state, look.serving.version)
        window = read_window(look.log, look.serving.version, after, size, reference.numeric)
        if window is None:
            break
        _judge(look, reference, window, result)
    if not result.windows:
        waiting = len(predictions.since(look.log, look.serving.version, after, size))
        result.lines.append(f"{waiting} of {size} predictions for the next window of model v{look.serving.version}.")
    return result


def _judge(look: Look, reference: Signals, window: Window, result: MonitorResult) -> None:
    monitor, version = look.params.monitor, look.serving.version
    earlier = windows.of_model(look.state, version)
    verdict = judge_window(reference, window.signals, good_effects(earlier, monitor), monitor)
    recent = [*(verdict_of(each) for each in earlier[-(monitor.of_last - 1) :]), verdict]
    decision = decide(recent, monitor)
    report = None
    if decision.verdict in {"warn", "alert"}:
        name = f"drift-v{version}-{window.last}.html"
        report = str(
            write_evidence(reference, window.signals, verdict, look.workspace.reports / name).relative_to(
                look.workspace.state
            )
        )
    if decision.verdict == "alert":
        result.alerts.extend(look.alert(_drift_finding(look, reference, window, verdict, decision.signals, report)))
    signals = [asdict(each) for each in verdict.signals]
    place = (version, window.first, window.last, len(window.rows))
    windows.record(look.state, *place, decision.verdict, signals, report, look.now)
    result.windows.append(windows.of_model(look.state, version)[-1])
    words = "; ".join(each.words for each in verdict.drifted[:3])
    result.lines.append(f"Window to prediction {window.last}: {decision.verdict}. {words}".strip())
    if decision.verdict == "ok":
        settle(look, recent)


def good_effects(earlier: Sequence[JudgedWindow], params: MonitorParams) -> list[dict[str, float]]:
    """Effects of the first good windows after the promotion: later ones could follow a slow drift."""
    good = good_windows([verdict_of(window) for window in earlier], params)[: params.history]
    return [{each["name"]: each["effect"] for each in earlier[place].signals} for place in good]


def verdict_of(window: JudgedWindow) -> WindowVerdict:
    signals = [SignalDrift(**each) for each in window.signals]
    return WindowVerdict("warn" if any(each.drifted for each in signals) else "ok", signals)


def settle(look: Look, recent: Sequence[WindowVerdict]) -> None:
    """Resolve this champion's drift alert when the last windows are all good again."""
    if len(recent) >= look.params.monitor.of_last and all(each.verdict == "ok" for each in recent):
        gone = [
            each
            for each in open_alerts(look.state)
            if each.kind == "drift" and each.model_version == look.serving.version and each.state != "retraining"
        ]
        if gone:
            set_state(look.state, gone, "resolved", look.now)


def _drift_finding(
    look: Look, reference: Signals, window: Window, verdict: WindowVerdict, signals: Sequence[str], report: str | None
) -> Finding:
    by_name = {each.name: each for each in verdict.signals}
    links = dict(look.links) | ({"Drift report": (look.workspace.state / report).as_uri()} if report else {})
    return Finding(
        kind="drift",
        key=f"drift-v{look.serving.version}-{window.last}",
        title=f"Production drifted: {', '.join(signals[:3]).replace('_', ' ')}",
        words=[each.words for each in verdict.drifted],
        signals=signals,
        detail={
            "first_prediction": window.first,
            "last_prediction": window.last,
            "effects": {name: by_name[name].effect for name in signals},
            "report": report,
        },
        model_version=look.serving.version,
        rows=window.rows,
        reference=reference,
        window=window.signals,
        links=links,
    )


def check_accuracy(look: Look) -> MonitorResult:
    """Accuracy of the answers that people have labelled, against what the champion was promoted with."""
    version = look.serving.version
    newest = predictions.newest(look.log, version)
    recent = look.params.monitor.of_last * look.params.monitor.window
    known = labelled(look.state, look.log, version, after_id=newest.id - recent if newest else 0)
    exact = task_named(look.bundle.card.task).exact
    if exact is None:
        return MonitorResult()
    verdict = labelled_accuracy(known, look.bundle.metrics[exact], look.params.monitor)
    if verdict.verdict == "insufficient":
        return MonitorResult()
    raised = []
    if verdict.verdict == "alert":
        rows = [each.prediction for each in known if not each.right]
        detail = {
            "first_prediction": rows[0].id,
            "accuracy": verdict.accuracy,
            "low": verdict.low,
            "high": verdict.high,
        }
        title = f"Accuracy in production fell to {verdict.accuracy:.0%}"
        finding = Finding("accuracy", f"accuracy-v{version}-{len(known)}", title, [verdict.words], ["accuracy"], detail)
        raised = look.alert(_about(look, finding, rows))
    return MonitorResult([verdict.words], [], raised)


def check_volume(look: Look) -> MonitorResult:
    """Whether the requests have stopped."""
    newest = predictions.newest(look.log)
    verdict = volume(newest.at if newest else None, predictions.count(look.log), look.now, look.params.monitor)
    if verdict.verdict != "alert" or newest is None:
        return MonitorResult()
    title = "No requests any more"
    finding = Finding(
        "volume", f"volume-{newest.id}", title, [verdict.words], ["volume"], {"last_prediction": newest.id}
    )
    return MonitorResult([verdict.words], [], look.alert(_about(look, finding, [])))


def check_champion(look: Look) -> MonitorResult:
    """Once a day: does the engine still answer its known images as it did when it was promoted?"""
    note = look.workspace.state / "rescored.json"
    last: dict[str, Any] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    fresh = last.get("digest") == look.serving.digest
    if fresh and look.now - datetime.fromisoformat(last["at"]) < RESCORE_EVERY:
        return MonitorResult()
    task = task_named(look.bundle.card.task, look.bundle.card.thresholds)
    engine, classes = look.bundle.load_engine(), look.bundle.card.classes
    verdict = rescored(engine, known_images(look), reference_of(look), task, classes)
    raised = []
    if verdict.verdict == "alert":
        key = f"champion-{look.serving.version}-{look.now:%Y-%m-%d}"
        title = f"The served model v{look.serving.version} no longer answers as it did"
        raised = look.alert(_about(look, Finding("champion", key, title, [verdict.words], ["champion"]), []))
    with replace_file(note) as path:
        path.write_text(json.dumps({"digest": look.serving.digest, "at": look.now.isoformat()}), encoding="utf-8")
    return MonitorResult([verdict.words], [], raised)


def known_images(look: Look) -> ImageSet:
    from components.data.dataset import load_images
    from components.launcher.local import LocalLauncher

    image, ingest = look.bundle.card.image, look.params.ingest
    return load_images(look.workspace, image, ingest, ["val", "test"], LocalLauncher(1), Silent())


def reference_of(look: Look) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(look.bundle.path / "reference.parquet")


def _about(look: Look, finding: Finding, rows: Sequence[predictions.Logged]) -> Finding:
    """`finding` with the champion, links and sample images filled in."""
    return Finding(**{**vars(finding), "model_version": look.serving.version, "rows": rows, "links": look.links})
