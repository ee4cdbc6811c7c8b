"""`python -m components STAGE`: run one stage of dvc.yaml in the workspace that is the working directory.

In: the name of a stage. Out: the stage's files, one closing line with its numbers, and exit status 0; or one clear
message and status 1. Only here are paths, params sections and reports given to a stage. Whether a stage has to run at
all is DVC's to say (`components.versioning`).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.launcher.group import is_worker
from components.params import Params, load_params
from components.report import Report, Several, Silent, Terminal
from components.settings import Settings, load_settings, quiet_vendors
from components.workspace import STAGES, Workspace, open_workspace

Summary = Mapping[str, int | float]
RUN_TRAIN = ("-m", "components", "train")
Stage = Callable[[Workspace, Params, Settings, Report], Summary]


def validate(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:  # noqa: ARG001
    from components.data.validate import validate as run
    from components.tasks import task_named

    tables = (at.manifest, at.labels, at.quarantine, at.conflicts)
    shown = task_named(params.task).shown
    return run(*tables, at.shards, at.validation, params.validate, params.ingest, params.split, report, shown)


def split(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:  # noqa: ARG001
    from components.data.split import split as run
    from components.data.validate import require_passed
    from components.tasks import task_named

    require_passed(at.validation)
    return run(at.manifest, at.labels, at.splits, params.split, report, task_named(params.task).shown)


def train(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:
    from components.data.dataset import load_images
    from components.launcher.local import LocalLauncher
    from components.launcher.torchrun import processes_here, run_in_processes
    from components.model.train import train as run
    from components.tasks import task_named

    launcher = LocalLauncher(settings.workers)
    images = load_images(at, params.image, params.ingest, ("train", "val"), launcher, report)
    if _launches(params):
        run_in_processes(RUN_TRAIN, processes_here(params.train.processes), settings.machines, settings.meet_at)
        found: Summary = json.loads((at.model / "metrics.json").read_text(encoding="utf-8"))
        return found
    task = task_named(params.task)
    return run(images, at.model, at.start, at.checkpoints, params.train, params.image, task, report)


def evaluate(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:
    from components.data.dataset import load_images
    from components.launcher.local import LocalLauncher
    from components.model.evaluate import evaluate as run

    launcher = LocalLauncher(settings.workers)
    images = load_images(at, params.image, params.ingest, ("train", "test"), launcher, report)
    return run(images, at.model, at.evaluation, params.evaluate, report)


def export(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:
    from components.data.dataset import load_images
    from components.engine.export import export as run
    from components.launcher.local import LocalLauncher

    launcher = LocalLauncher(settings.workers)
    images = load_images(at, params.image, params.ingest, ("val",), launcher, report)
    return run(images, at.model, at.export, params.export, params.image, report)


def compile(at: Workspace, params: Params, settings: Settings, report: Report) -> Summary:  # noqa: A001
    from components.data.dataset import load_images
    from components.engine.compile import compile_model
    from components.launcher.local import LocalLauncher

    launcher = LocalLauncher(settings.workers)
    images = load_images(at, params.image, params.ingest, ("train", "val"), launcher, report)
    return compile_model(images, at.export, at.engine, params.compile, report)


RUN: Mapping[str, Stage] = {stage.__name__: stage for stage in (validate, split, train, evaluate, export, compile)}


def run_stage(name: str, root: Path) -> str:
    """Run stage `name` in the workspace `root`; return its closing line."""
    at = open_workspace(root)
    quiet_vendors(at.state)
    settings = load_settings(at)
    params = load_params(at.params)
    with _reports(settings, name, params) as report:
        summary = RUN[name](at, params, settings, report)
    return f"{name}: {', '.join(_number(key, value) for key, value in summary.items())}"


def _launches(params: Params) -> bool:
    """Whether this process only starts those that train."""
    return params.train.launcher == "torchrun" and not is_worker()


@contextmanager
def _reports(settings: Settings, stage: str, params: Params) -> Iterator[Report]:
    """The terminal, and MLflow when a training run is the parent; of several processes that train, the first tells."""
    if os.environ.get("RANK", "0") != "0":
        yield Silent()
        return
    if not settings.parent_run or (stage == "train" and _launches(params)):
        yield Terminal()
        return
    from components.registry.tracking import stage_report

    with stage_report(settings, stage) as tracked:
        yield Several((Terminal(), tracked))


def _number(name: str, value: int | float) -> str:
    return f"{value:,} {name}" if isinstance(value, int) else f"{name} {value:.4g}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m components {{{'|'.join(STAGES)}}}   (in a workspace)", file=sys.stderr)
        return 2
    try:
        print(run_stage(arguments[0], Path.cwd()), flush=True)
    except Exception as error:
        message = _clear_message(error)
        if message is None:
            raise
        print(f"{arguments[0]}: {message}", file=sys.stderr)
        return 1
    return 0


def _clear_message(error: Exception) -> str | None:
    """What to tell of an error that a user can act on; None for a mistake of ours, which keeps its traceback."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full ({error.filename or 'while writing'}). Free some space and run the same command again."
        )
    return str(error) if type(error).__module__.startswith("components.") else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
