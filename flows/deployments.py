"""What runs by itself: the deployments of a workspace, their schedules, and the automation that an alert sets off.

In: a workspace's params (`schedule`). Out: three deployments on the Prefect server, served by this process:
training (by hand), monitoring (cron), retraining (cron, and the event `visionloop.drift.detected`).
Single flight is held twice: by Prefect's limit, and by the lease in our own database that survives Prefect.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from prefect import get_client, serve
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.schedules import Cron
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from components.params import ScheduleParams, load_params
from components.settings import quiet_vendors
from components.workspace import Workspace, open_workspace

DRIFT_EVENT = "visionloop.drift.detected"
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def resource_of(workspace: Workspace) -> str:
    """The Prefect resource id of a workspace, so that one server can watch several."""
    return f"visionloop.workspace.{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]}"


def deployments(workspace: Workspace, schedule: ScheduleParams) -> list[RunnerDeployment]:
    """The three deployments of `workspace`, not yet sent to a server."""
    from flows.monitoring import monitoring
    from flows.retraining import retraining
    from flows.training import training

    where = {"workspace": str(workspace.root)}
    return [
        RunnerDeployment.from_flow(
            training,
            "by-hand",
            parameters=where | {"reason": "Prefect UI"},
            description="Bring the model up to date with its data and params.yaml (also: `visionloop run`).",
            concurrency_limit=ONE_AT_A_TIME,
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
        RunnerDeployment.from_flow(
            monitoring,
            "watch",
            schedule=Cron(schedule.monitoring, timezone=schedule.timezone),
            parameters=where,
            description="Judge the predictions that arrived since the last look; alert, and wake retraining.",
            concurrency_limit=ONE_AT_A_TIME,
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
        RunnerDeployment.from_flow(
            retraining,
            "on-alert",
            schedule=Cron(schedule.retraining, timezone=schedule.timezone),
            parameters=where | {"reason": "schedule"},
            triggers=[drift_trigger(workspace)],
            description="Merge new labels, train a challenger from the champion, promote it if the gate says so.",
            concurrency_limit=ONE_AT_A_TIME,
            entrypoint_type=EntrypointType.MODULE_PATH,
        ),
    ]


def drift_trigger(workspace: Workspace) -> DeploymentEventTrigger:
    """Start retraining for each drift event of this workspace, with the alert's number."""
    return DeploymentEventTrigger(
        name="retrain when production drifts",
        description="A drift alert of this workspace starts the retraining deployment.",
        expect={DRIFT_EVENT},
        match={"prefect.resource.id": resource_of(workspace)},
        # a bare expression keeps its JSON type; Prefect cannot serialise ids and times this way
        parameters={"alert_id": "{{ event.payload.alert_id }}", "reason": "drift alert"},
    )


def reconcile() -> int:
    """Mark runs that no process executes any more as crashed; return how many. Call with no runner alive.

    Prefect leaves the runs of a killed runner `Running` for ever, and their concurrency slots taken.
    """
    alive = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    leftover = FlowRunFilter(state=FlowRunFilterState(type=alive))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=leftover)
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message="Its process ended with the machine."), force=True)
    return len(runs)


def automated_runs(deployment: str) -> list[dict[str, Any]]:
    """Runs of `deployment` ("flow/name") that an automation started, oldest first."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id])),
            sort=FlowRunSort.START_TIME_ASC,
        )
    return [
        {
            "id": str(run.id),
            "started": run.start_time,
            "finished": run.state is not None and run.state.is_final(),
            "automation_id": str(run.created_by.id),
        }
        for run in runs
        if run.created_by is not None and run.created_by.type == "AUTOMATION"
    ]


def main() -> None:
    """Send the deployments of the workspace named on the command line to the server, and run what they start."""
    workspace = open_workspace(Path(sys.argv[1]))
    quiet_vendors(workspace.state)
    serve(
        *deployments(workspace, load_params(workspace.params).schedule),
        pause_on_shutdown=False,  # else a restart would leave the schedules paused
        print_starting_message=False,
    )


if __name__ == "__main__":
    main()
