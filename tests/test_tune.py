"""A search finds better values, gives up what falls behind, goes on where it was left, and leaves a diff to review."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.model import tune
from components.model.tune import Choice, TuneError, space_in, with_values
from components.params import TrainParams, load_params
from components.settings import load_settings
from components.workspace import Workspace
from flows.tuning import find_learning_rate, tune_recipe
from tests.conftest import change_params
from tests.prepared import prepare
from tests.training import PARAMS

SPACE = {"lr": Choice(low=1e-4, high=1, log=True), "optimizer": Choice(values=("adamw", "sgd"))}


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


def quality(params: TrainParams, _: int, pruning: Any) -> float:
    """Best with sgd at a rate of 0.01; told by epoch, as a training does."""
    found = 1 - abs(math.log10(params.lr) + 2) / 4 - 0.2 * (params.optimizer == "adamw")
    for epoch in range(1, 5):
        pruning.metrics({"val/top1": found * epoch / 4}, epoch)
    return found


def trials_in(database: str, count: int, judge: Any = quality) -> Any:
    with tune.opened_study(database, "a study", seed=1) as study:
        tune.run_trials(study, PARAMS, SPACE, "val/top1", judge, count)
        return study


def test_words_of_the_command_line_become_a_space():
    assert space_in(["lr=1e-4:0.1:log", "ema=0,0.99", "augment.flip=true,false", "epochs=3:9"], PARAMS) == {
        "lr": Choice(low=1e-4, high=0.1, log=True),
        "ema": Choice(values=(0.0, 0.99)),
        "augment.flip": Choice(values=(True, False)),
        "epochs": Choice(low=3, high=9),
    }
    assert "lr" in space_in([], PARAMS)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rate=1:2", r"train\.rate is not in params\.yaml; of arch, .*lr"),
        ("augment.turn=1:2", r"train\.augment\.turn .*rotate"),
        ("lr=high", "KEY=LOW:HIGH"),
        ("augment.flip=maybe", "KEY=A,B,C"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_what_can(word: str, message: str):
    with pytest.raises(TuneError, match=message):
        space_in([word], PARAMS)


def test_values_enter_the_params_and_wrong_ones_are_refused():
    changed = with_values(PARAMS, {"lr": 0.5, "augment.erase": 0.25})
    assert (changed.lr, changed.augment.erase, changed.augment.flip) == (0.5, 0.25, PARAMS.augment.flip)
    with pytest.raises(TuneError, match="optimizer"):
        with_values(PARAMS, {"optimizer": "lion"})


def test_the_search_finds_a_better_recipe_and_gives_up_on_bad_ones(database: str):
    study = trials_in(database, 30)
    found = tune.best_values(study)
    assert found is not None
    values, metric = found
    assert metric > 0.85
    assert values["optimizer"] == "sgd"
    states = [trial.state.name for trial in study.trials]
    assert states.count("PRUNED") >= 3
    assert set(states) == {"PRUNED", "COMPLETE"}
    assert tune.importances(study).keys() == SPACE.keys()
    assert tune.draw_importances(tune.importances(study)).startswith(b"\x89PNG")


def test_what_stands_in_params_yaml_is_judged_once_a_study(database: str):
    calls = []
    for _ in range(2):
        with tune.opened_study(database, "a study") as study:
            assert tune.judge_as_it_stands(study, PARAMS, lambda params: calls.append(params) or 0.5) == 0.5
    assert calls == [PARAMS]


def test_a_study_goes_on_where_it_was_left_and_repeats_no_values(database: str):
    first = [trial.params for trial in trials_in(database, 3).trials]
    assert [trial.params for trial in trials_in(database, 3).trials[:3]] == first
    assert len({trial.params["lr"] for trial in trials_in(database, 2).trials}) == 8


def test_the_trial_of_a_process_that_is_gone_is_tried_again(database: str):
    with tune.opened_study(database, "a study") as study:
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, 1, log=True)
        trial.suggest_categorical("optimizer", ["adamw", "sgd"])
        trial.set_user_attr(tune.PROCESS, f"{os.uname().nodename} 999999999 5")
        mine = study.ask()
        mine.set_user_attr(tune.PROCESS, "another-machine 1 5")
    study = trials_in(database, 1)
    states = [each.state.name for each in study.trials]
    assert states == ["FAIL", "RUNNING", "COMPLETE"]  # the one of another machine may still be at work
    assert study.trials[2].params == study.trials[0].params


@pytest.fixture
def prepared(workspace: Workspace, tmp_path: Path) -> Workspace:
    change_params(workspace, train={"lr": 1e-6, "epochs": 2, "arch": "lenet5"})
    return prepare(workspace, tmp_path / "shapes", 40)


def test_lr_find_proposes_writes_and_keeps_the_curve(prepared: Workspace):
    settings = load_settings(prepared)
    lines = find_learning_rate(prepared, settings, write=True)
    assert lines[0].endswith("params.yaml says 1e-06.")
    found = load_params(prepared.params).train.lr
    assert 1e-5 < found < 1
    assert any(line.startswith(f"+  lr: {found:g}") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_winner_is_written_as_a_diff_and_every_trial_is_a_child_run(prepared: Workspace, workers: int):
    settings, before = load_settings(prepared), load_params(prepared.params)
    lines = tune_recipe(prepared, settings, 4, ["lr=1e-4:1e-1:log", "augment.flip=true,false"], 2, workers)
    assert lines[0].startswith("top1 0.")
    after = load_params(prepared.params)
    assert after.train.lr > before.train.lr
    assert replace(after.train, lr=1, augment=before.train.augment) == replace(before.train, lr=1)
    client = MlflowClient(settings.mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("visionloop").experiment_id])
    [parent] = [run for run in runs if run.info.run_name == "tune"]
    children = {run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert children == {"as it stands", *(f"trial {number}" for number in range(4))}
    assert any("importance" in each.path for each in client.list_artifacts(parent.info.run_id, "pictures"))
