"""The training flow: validate, split, train, evaluate, export, compile, then the gate and the promotion.

In: a workspace. Out: a `TrainingResult` that says in words what happened; an MLflow run with a child for each stage;
Prefect artifacts. Whether anything is stale is DVC's to say, whether the model is good enough the gate's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from components.launcher.local import LocalLauncher
from components.monitoring.alerts import announce
from components.monitoring.mail import send_waiting
from components.params import Params, load_params
from components.registry import tracking
from components.registry.promote import Outcome, promote_candidate
from components.report import Terminal
from components.settings import Settings, load_settings, quiet_vendors
from components.state.database import open_state
from components.versioning import ensure_dvc, push, workspace_lock
from components.workspace import Workspace, open_workspace
from flows.stages import run_stages

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class TrainingResult:
    """What a training run did, for people (`lines`) and for programs."""

    lines: list[str]
    promoted: bool
    version: int


@flow(name="training", flow_run_name="training · {reason}", log_prints=True)
def training(workspace: str, reason: str = "by hand") -> TrainingResult:
    """Bring the model of a workspace up to date and promote it if it is better; one run a workspace at a time."""
    place = open_workspace(Path(workspace))
    quiet_vendors(place.state)
    with workspace_lock(place):
        return train_and_promote(place, load_params(place.params), load_settings(place), reason)


def train_and_promote(workspace: Workspace, params: Params, settings: Settings, reason: str) -> TrainingResult:
    """All stages, then the gate, in one MLflow run; the caller holds the workspace's lock."""
    ensure_dvc(workspace, settings)
    run_id = tracking.start_run(settings, f"training · {reason}", _tags(reason), _flat(params))
    status = "FAILED"
    try:
        stages = run_stages(workspace, {"VISIONLOOP_PARENT_RUN": run_id, "MLFLOW_TRACKING_URI": settings.mlflow_uri})
        push(workspace)
        outcome = promote(workspace, run_id, reason)
        send_waiting(open_state(settings.database_url), settings, workspace, params.alert, datetime.now(UTC))
        status = "FINISHED"
    finally:
        tracking.end_run(settings, run_id, status)
    ran = [f"{each.stage} {each.seconds:.0f} s" for each in stages if each.changed]
    lines = [f"Ran {', '.join(ran)}." if ran else "Every stage was up to date.", *outcome.lines]
    lines.append(f"MLflow run: {tracking.run_url(settings, run_id)}")
    return TrainingResult(lines, outcome.promoted, outcome.version)


@task(task_run_name="promote", cache_policy=NO_CACHE)
def promote(workspace: Workspace, run_id: str, actor: str) -> Outcome:
    """Judge the compiled artefact on the frozen test split and, if it wins, make it champion."""
    settings, params = load_settings(workspace), load_params(workspace.params)
    outcome = promote_candidate(
        workspace,
        settings,
        params,
        open_state(settings.database_url),
        run_id=run_id,
        launcher=LocalLauncher(settings.workers),
        report=Terminal(),
        actor=actor,
        now=datetime.now(UTC),
        tell=partial(announce, params=params.alert, now=datetime.now(UTC)),
    )
    reasons = "\n".join(f"- {each}" for each in outcome.verdict.reasons)
    create_markdown_artifact(
        f"# {outcome.verdict.decision.replace('_', ' ')}\n\nModel v{outcome.version}\n\n{reasons}",
        key="gate-verdict",
        description="Challenger against champion on the frozen test split",
    )
    return outcome


def _tags(reason: str) -> dict[str, str]:
    return {"reason": reason, "prefect.flow_run_id": str(flow_run.id or ""), "host": os.uname().nodename}


def _flat(params: Params) -> Mapping[str, str]:
    """params.yaml as `section.key: value`, the form MLflow compares side by side."""
    from pydantic import TypeAdapter

    tree = TypeAdapter(Params).dump_python(params, mode="json")
    return dict(_leaves("", tree))


def _leaves(prefix: str, value: object) -> list[tuple[str, str]]:
    if not isinstance(value, dict) or not value:
        return [(prefix, value if isinstance(value, str) else json.dumps(value))]
    return [leaf for key, each in value.items() for leaf in _leaves(f"{prefix}.{key}".lstrip("."), each)]
