"""`visionloop tune` and `lr-find`: better values for `train:` in params.yaml, found on the validation split.

In: a workspace. Out: the winner in params.yaml, where a person reviews the change, and one MLflow run: a child for each
trial, a table of all of them and a picture of what mattered. The study lies in the state database, so the same command
goes on after `kill -9`; a study is of one version of the data, one architecture and one space.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.dataset import ImageSet, load_images
from components.launcher.local import LocalLauncher
from components.model import tune
from components.model.params_file import changed, diff
from components.params import Params, TrainParams, load_params
from components.registry import tracking
from components.report import Report, Row, Several, Silent, Terminal
from components.settings import Settings, load_settings
from components.tasks import Task, task_named
from components.workspace import Workspace, WorkspaceError, open_workspace, replace_file

if TYPE_CHECKING:
    from optuna import Study


def find_learning_rate(workspace: Workspace, settings: Settings, write: bool = False) -> list[str]:
    """Lines that propose a learning rate; with `write` it is put into params.yaml."""
    from components.model.lr_find import find_rate

    params = load_params(workspace.params)
    images, task = _images(workspace, settings, params), task_named(params.task)
    run = tracking.start_run(settings, "lr-find", {"reason": "lr-find"}, {"train.arch": params.train.arch})
    with (
        _ending(settings, run),
        tracking.stage_report(settings.model_copy(update={"parent_run": run}), "sweep") as told,
    ):
        found = find_rate(images, workspace.start, params.train, params.image, task, Several((Terminal(), told)))
    lines = [f"lr {found.proposed:g} is proposed for {params.train.arch}; params.yaml says {params.train.lr:g}."]
    lines.append(f"The curve: {tracking.run_url(settings, run)}")
    return lines + (_write(workspace, {"lr": found.proposed}) if write else [])


def tune_recipe(
    workspace: Workspace,
    settings: Settings,
    trials: int,
    over: Sequence[str] = (),
    epochs: int | None = None,
    workers: int = 1,
) -> list[str]:
    """Judge `trials` more sets of values; put the best into params.yaml if it beats what stands there."""
    params = load_params(workspace.params)
    space, images, task = (
        tune.space_in(over, params.train),
        _images(workspace, settings, params),
        task_named(params.task),
    )
    train = replace(params.train, folds=0, launcher="local", epochs=epochs or params.train.epochs)
    work = _Work(workspace.root, _study_name(images, train, space), train, params, space, "", 0)
    run = tracking.start_run(
        settings, "tune", {"reason": "tune"}, {key: str(asdict(each)) for key, each in space.items()}
    )
    with _ending(settings, run), tune.opened_study(settings.database_url, work.study, train.seed) as study:
        work = replace(work, run=run)
        stood = tune.judge_as_it_stands(study, train, lambda recipe: _judged(work, images, recipe, -1, Silent()))
        if workers == 1:
            _run(replace(work, trials=trials), images)
        else:
            shares = [replace(work, trials=len(range(place, trials, workers))) for place in range(workers)]
            list(LocalLauncher(workers).map_shards(_work, shares))
        _tell(study, settings, run, task)
        best = tune.best_values(study)
    shutil.rmtree(workspace.state / "tune", ignore_errors=True)
    link = f"MLflow run: {tracking.run_url(settings, run)}"
    if best is None or best[1] <= stood:
        return [f"No trial is better than params.yaml as it stands ({task.primary} {stood:.4f}).", link]
    return [f"{task.primary} {best[1]:.4f}, from {stood:.4f}.", link, *_write(workspace, best[0])]


@dataclass(frozen=True)
class _Work:
    """What a worker needs to take part in a study."""

    root: Path
    study: str
    train: TrainParams
    params: Params
    space: tune.Space
    run: str
    trials: int


def _work(work: _Work) -> None:
    workspace = open_workspace(work.root)
    _run(work, _images(workspace, load_settings(workspace), work.params))


def _run(work: _Work, images: ImageSet) -> None:
    task = task_named(work.params.task)
    settings = load_settings(Workspace(work.root))

    def judge(train: TrainParams, number: int, pruning: tune.Pruning) -> float:
        return _judged(work, images, train, number, pruning)

    with tune.opened_study(settings.database_url, work.study) as study:
        tune.run_trials(study, work.train, work.space, f"val/{task.primary}", judge, work.trials)


def _judged(work: _Work, images: ImageSet, train: TrainParams, number: int, pruning: Report) -> float:
    """Train with these values, in an MLflow run of its own; the best epoch's primary metric on val."""
    from components.model.train import train as run

    workspace, task = Workspace(work.root), task_named(work.params.task)
    settings = load_settings(workspace).model_copy(update={"parent_run": work.run})
    name = "as it stands" if number < 0 else f"trial {number}"
    place = workspace.state / "tune" / work.study / name.replace(" ", "-")
    tried = {f"train.{key}": str(tune.value_of(train, key)) for key in work.space}
    with tracking.stage_report(settings, name) as told:
        told.table("values", [tried])
        report = Several((_Progress(Terminal(), name), told, pruning))
        found = run(
            images, place / "model", workspace.start, place / "checkpoints", train, work.params.image, task, report
        )
    shutil.rmtree(place, ignore_errors=True)
    return found[f"val/{task.primary}"]


@dataclass(frozen=True)
class _Progress(Silent):
    """Progress alone, under the trial's name."""

    report: Report
    name: str

    def progress(self, done: int, total: int, what: str) -> None:
        self.report.progress(done, total, f"{self.name}: {what}")


def _tell(study: Study, settings: Settings, run: str, task: Task) -> None:
    """A table of the trials and a picture of what mattered, for people who look at the run."""
    rows: list[Row] = [
        {"trial": each.number, "state": each.state.name.lower(), f"val/{task.primary}": each.value, **each.params}
        for each in study.get_trials(deepcopy=False)
    ]
    tracking.log_table(settings, run, "trials", rows)
    mattered = tune.importances(study)
    if mattered:
        tracking.log_picture(settings, run, "importance", tune.draw_importances(mattered))


def _write(workspace: Workspace, values: tune.Values) -> list[str]:
    """Put `values` of `train:` into params.yaml; the diff."""
    before = workspace.params.read_text(encoding="utf-8")
    after = changed(before, {f"train.{key}": value for key, value in values.items()})
    with replace_file(workspace.params) as temporary:
        temporary.write_text(after, encoding="utf-8")
    load_params(workspace.params)
    return ["params.yaml has changed; `visionloop run` trains with it:", *diff(before, after)]


def _images(workspace: Workspace, settings: Settings, params: Params) -> ImageSet:
    if not workspace.splits.is_file():
        raise WorkspaceError("The images have no splits yet. Run `visionloop stage split` first.")
    launcher = LocalLauncher(settings.workers)
    return load_images(workspace, params.image, params.ingest, ("train", "val"), launcher, Terminal())


def _study_name(images: ImageSet, train: TrainParams, space: tune.Space) -> str:
    """Names all that must be the same for trials to be comparable."""
    fixed = {key: value for key, value in asdict(train).items() if key not in space}
    facts = [images.data_version, fixed, {key: asdict(each) for key, each in space.items()}]
    return f"{train.arch}-{hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:12]}"


@contextmanager
def _ending(settings: Settings, run: str) -> Iterator[None]:
    """End the MLflow run with the block."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        tracking.end_run(settings, run, status)
