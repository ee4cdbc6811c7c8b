"""Presets: every task starts with a params.yaml that fits it, is whole, and still explains itself."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from components.params import load_params
from components.presets import params_text
from components.tasks import task_named
from components.workspace import TaskName, create_workspace

TASKS = get_args(TaskName)


@pytest.mark.parametrize("task", TASKS)
def test_a_new_workspace_of_every_task_has_params_that_fit_it(task: str, tmp_path: Path) -> None:
    params = load_params(create_workspace(tmp_path / task, task).params)
    assert params.task == task
    assert params.promote.metric == task_named(task).primary


@pytest.mark.parametrize("task", TASKS)
def test_comments_survive_in_every_preset(task: str) -> None:
    assert params_text(task).count("#") >= params_text("classification").count("#") - 3


@pytest.mark.parametrize("task", TASKS)
def test_the_architecture_of_a_preset_answers_its_task(task: str, tmp_path: Path) -> None:
    from components.model.zoo import family

    params = load_params(create_workspace(tmp_path / task, task).params)
    assert params.train.arch in family(task_named(task).head).names()
