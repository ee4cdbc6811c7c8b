"""The retraining flow: new labels -> dataset -> challenger from the champion -> gate -> promotion.

In: a workspace, and the alert that asked for it if one did. Out: lines that say what happened. Single flight: a lease
in our own database, which outlives Prefect's limits. Against an alert nothing is trained without enough new labels;
people are asked by mail to label named images instead. Whether to train is for `components.monitoring.retrain` to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from sqlalchemy import Engine

from components.data.sources.feedback import FeedbackSource
from components.monitoring.alerts import ask_for_labels, tell_refusal
from components.monitoring.mail import send_waiting
from components.monitoring.retrain import should_retrain
from components.params import Params, load_params
from components.settings import Settings, load_settings, quiet_vendors
from components.state.alerts import Alert, last_retraining, open_alerts, set_state
from components.state.database import open_predictions, open_state
from components.state.feedback import Feedback, mark_merged, unmerged
from components.state.image_store import ImageStore
from components.state.leases import LeaseHeld, lease
from components.state.ledger import champion
from components.versioning import ensure_dvc, stale_stages, workspace_lock
from components.workspace import Workspace, open_workspace, replace_folder
from flows.ingesting import ingest_locked
from flows.training import train_and_promote

LEASE_S = 60.0


@flow(name="retraining", flow_run_name="retraining · {reason}", log_prints=True)
def retraining(workspace: str, reason: str = "by hand", alert_id: int | None = None, force: bool = False) -> list[str]:
    """Retrain if it can help; `force` trains whatever the policy says, as a person who asked for it expects."""
    place = open_workspace(Path(workspace))
    quiet_vendors(place.state)
    settings = load_settings(place)
    state = open_state(settings.database_url)
    owner = str(flow_run.id or "by hand")
    try:
        with lease(state, "retraining", owner, LEASE_S):
            return _retrain(place, settings, state, f"{reason} {alert_id}" if alert_id else reason, force)
    except LeaseHeld as held:
        print(held)
        return [f"Another retraining is running; this one leaves it the work. ({held})"]


def _retrain(workspace: Workspace, settings: Settings, state: Engine, reason: str, force: bool) -> list[str]:
    params = load_params(workspace.params)
    ensure_dvc(workspace, settings)
    now = datetime.now(UTC)
    alerts, labels = open_alerts(state), unmerged(state)
    decision = should_retrain(alerts, len(labels), last_retraining(state), params.retrain, now)
    print(decision.reason)
    changed = [] if alerts or decision.train else stale_stages(workspace)
    if changed:
        print(f"What {', '.join(changed)} work on has changed since the last run.")
    if decision.train or changed or force:
        return [decision.reason, *_train(workspace, settings, params, state, alerts, labels, reason)]
    if decision.ask_for_labels:
        asked = ask_for_labels(state, open_predictions(settings.predictions_url), workspace, params, alerts, now)
        send_waiting(state, settings, workspace, params.alert, now)
        return [decision.reason, asked]
    return [decision.reason]


def _train(
    workspace: Workspace,
    settings: Settings,
    params: Params,
    state: Engine,
    alerts: Sequence[Alert],
    labels: Sequence[Feedback],
    reason: str,
) -> list[str]:
    set_state(state, alerts, "retraining", datetime.now(UTC), flow_run_id=str(flow_run.id or ""))
    with workspace_lock(workspace):
        source = FeedbackSource(labels, open_predictions(settings.predictions_url), ImageStore(workspace.images))
        merged = f"{len(labels)} new labels: {ingest_locked(workspace, source)}" if labels else "No new labels."
        print(merged)
        mark_merged(state, labels, datetime.now(UTC))
        start_from(workspace, state, params.retrain.start)
        result = train_and_promote(workspace, params, settings, reason)
    now = datetime.now(UTC)
    set_state(state, alerts, "resolved" if result.promoted else "open", now)
    if not result.promoted:
        tell_refusal(state, params.alert, result.version, result.lines, now)
    send_waiting(state, settings, workspace, params.alert, now)
    return [merged, *result.lines]


def start_from(workspace: Workspace, state: Engine, start: str) -> None:
    """Fill data/start, an input of the train stage, with the champion's weights; or empty it for `scratch`."""
    holder = champion(state) if start == "champion" else None
    with replace_folder(workspace.start) as folder:
        if holder:
            for name in ("model.safetensors", "model.json"):
                shutil.copyfile(workspace.models / holder.digest / name, folder / name)
