"""The monitoring flow: predictions since the last look -> verdicts, alerts, mail, and a word to retraining.

In: a workspace. Out: a `MonitoringResult`; a Prefect artifact and an MLflow run for the windows judged. The alert is a
row in our database before anything else happens; the event only wakes retraining up, and each later look sends it again
for an alert whose event was lost. Judging is left to `components.monitoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run
from sqlalchemy import Engine

from components.monitoring.check import MonitorResult, check
from components.monitoring.mail import send_waiting
from components.monitoring.retrain import mends, should_retrain
from components.params import RetrainParams, load_params
from components.registry import tracking
from components.settings import Settings, load_settings, quiet_vendors
from components.state.alerts import Alert, last_retraining, open_alerts
from components.state.database import open_predictions, open_state
from components.state.feedback import unmerged
from components.state.leases import is_held
from components.state.ledger import champion
from components.state.windows import JudgedWindow
from components.workspace import Workspace, open_workspace
from flows.deployments import DRIFT_EVENT, resource_of


@dataclass(frozen=True)
class MonitoringResult:
    """What one look found: lines for people, numbers of new alerts, and when retraining was woken, if it was."""

    lines: list[str]
    alerts: list[int]
    woken_at: datetime | None


@flow(name="monitoring", flow_run_name="monitoring", log_prints=True)
def monitoring(workspace: str) -> MonitoringResult:
    """Judge what has arrived, tell people, wake retraining where it can help."""
    place = open_workspace(Path(workspace))
    quiet_vendors(place.state)
    settings = load_settings(place)
    state = open_state(settings.database_url)
    found = look(place, settings, state)
    for line in found.lines:
        print(line)
    params = load_params(place.params)
    send_waiting(state, settings, place, params.alert, datetime.now(UTC))
    alert = worth_waking(state, params.retrain, datetime.now(UTC))
    woken_at = wake(place, alert) if alert else None
    return MonitoringResult(found.lines, [each.id for each in found.alerts], woken_at)


@task(task_run_name="look", cache_policy=NO_CACHE)
def look(workspace: Workspace, settings: Settings, state: Engine) -> MonitorResult:
    """All checks, published for operators where there is something to see."""
    params, log = load_params(workspace.params), open_predictions(settings.predictions_url)
    found = check(workspace, params, state, log, datetime.now(UTC), links(settings, state))
    if found.windows:
        publish(settings, found.windows)
    return found


def links(settings: Settings, state: Engine) -> dict[str, str]:
    """Where a mail sends its reader: this flow run, and the champion in the MLflow UI."""
    run = {"Prefect run": flow_run.ui_url} if flow_run.ui_url else {}
    serving = champion(state)
    model = {f"Model v{serving.version}": tracking.version_url(settings, serving.version)} if serving else {}
    return run | model


def publish(settings: Settings, judged: Sequence[JudgedWindow]) -> None:
    """The newest window as a Prefect table, all of them as metrics of one MLflow run."""
    rows = [
        {
            "signal": each["name"],
            "drifted": each["drifted"],
            "shift": round(each["effect"], 3),
            "floor": round(each["floor"], 3),
        }
        | {"p": f"{each['p']:.1e}", "in words": each["words"]}
        for each in judged[-1].signals
    ]
    create_table_artifact(
        rows, key="drift", description=f"Window of model v{judged[-1].model_version}: {judged[-1].verdict}"
    )
    name = f"monitoring · v{judged[-1].model_version}"
    run_id = tracking.start_run(settings, name, {"prefect.flow_run_id": str(flow_run.id or "")}, {})
    for window in judged:
        effects = {f"drift/{each['name']}": float(each["effect"]) for each in window.signals}
        tracking.log_metrics(settings, run_id, effects, step=window.last_prediction)
    tracking.end_run(settings, run_id)


def worth_waking(state: Engine, params: RetrainParams, now: datetime) -> Alert | None:
    """The newest alert that retraining has not taken up, or was killed over, or was waiting for labels that came."""
    mendable = [alert for alert in open_alerts(state) if mends(alert, params)]
    if not mendable or is_held(state, "retraining", now):
        return None
    fresh = [alert for alert in mendable if alert.state == "open" and alert.handled_at is None]
    ready = should_retrain(mendable, len(unmerged(state)), last_retraining(state), params, now).train
    return next(reversed(mendable if ready else fresh), None)


def wake(workspace: Workspace, alert: Alert) -> datetime:
    """Emit the event that the automation of flows.deployments waits for; return its time."""
    resource = {"prefect.resource.id": resource_of(workspace), "prefect.resource.name": workspace.root.name}
    payload = {"alert_id": alert.id, "kind": alert.kind, "signals": list(alert.signals)}
    event = emit_event(event=DRIFT_EVENT, resource=resource, payload=payload)
    print(f"Woke retraining for {alert.kind} alert {alert.id}.")
    return event.occurred if event else datetime.now(UTC)
