"""What runs by itself, and what an alert sets off."""

from __future__ import annotations

import pytest

from components.params import Params
from components.workspace import Workspace, create_workspace
from flows.deployments import DRIFT_EVENT, deployments, drift_trigger, resource_of


@pytest.fixture
def found(workspace: Workspace, params: Params):
    return {f"{each.flow_name}/{each.name}": each for each in deployments(workspace, params.schedule)}


def test_monitoring_and_retraining_follow_the_schedule_of_params_yaml(found, params):
    crons = {name: [each.schedule.cron for each in deployment.schedules or []] for name, deployment in found.items()}
    assert crons == {
        "training/by-hand": [],
        "monitoring/watch": [params.schedule.monitoring],
        "retraining/on-alert": [params.schedule.retraining],
    }


def test_every_run_knows_its_workspace_and_runs_alone(found, workspace):
    for deployment in found.values():
        assert deployment.parameters["workspace"] == str(workspace.root)
        assert deployment.concurrency_limit == 1
        assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"


def test_every_deployment_says_in_words_what_it_does(found):
    assert all(len(deployment.description) > 40 for deployment in found.values())


def test_a_drift_event_of_this_workspace_starts_retraining_with_the_alert(workspace):
    trigger = drift_trigger(workspace)
    assert trigger.expect == {DRIFT_EVENT}
    assert trigger.match.root == {"prefect.resource.id": resource_of(workspace)}
    assert trigger.parameters["alert_id"] == "{{ event.payload.alert_id }}"


def test_two_workspaces_on_one_server_do_not_wake_each_other(workspace, tmp_path):
    assert resource_of(workspace) != resource_of(create_workspace(tmp_path / "other"))
