"""Where Prefect meets DVC: one Prefect task a stage, each `dvc repro --single-item <stage>`.

In: a workspace. Out: whether each stage ran or was up to date, its output in the run's log, and artifacts that an
operator can read. DVC alone decides what is stale, so no result is cached here and no task retries a stage:
a stage that failed fails again on the same input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.versioning import StageRun, reproduce
from components.workspace import STAGES, Workspace


def run_stages(workspace: Workspace, environment: Mapping[str, str]) -> list[StageRun]:
    """Run the stages in order, each a task of its own name; raise at the first that fails."""
    return [
        run_stage.with_options(name=stage, task_run_name=stage)(workspace.root, stage, dict(environment))
        for stage in STAGES
    ]


@task(cache_policy=NO_CACHE)
def run_stage(root: Path, stage: str, environment: dict[str, str]) -> StageRun:
    """Bring one stage up to date and publish what it found."""
    workspace = Workspace(root)
    try:
        run = reproduce(workspace, stage, environment, print)
    finally:
        publish_stage(workspace, stage)
    print(f"{stage}: {'ran' if run.changed else 'up to date'} in {run.seconds:.1f} s")
    return run


def publish_stage(workspace: Workspace, stage: str) -> None:
    """Prefect artifacts of one stage, where it has something for an operator to read."""
    if stage == "validate" and (workspace.validation / "verdict.json").is_file():
        _publish_validation(workspace)
    if stage == "evaluate" and (workspace.evaluation / "per_class.json").is_file():
        create_table_artifact(
            _read(workspace.evaluation / "per_class.json"), key="per-class", description="Test images, class by class"
        )
        create_link_artifact(
            (workspace.evaluation / "confusion.png").as_uri(),
            link_text="Confusion matrix",
            key="confusion-matrix",
            description="Rows are true classes, columns predicted ones (test split)",
        )
    if stage == "compile" and (workspace.engine / "rungs.json").is_file():
        create_table_artifact(
            _read(workspace.engine / "rungs.json"),
            key="compile-rungs",
            description="Each precision tried: its accuracy, agreement with fp32, speed, and why it was kept or not",
        )


def _publish_validation(workspace: Workspace) -> None:
    verdict = _read(workspace.validation / "verdict.json")
    report = (workspace.validation / "report.html").as_uri()
    create_markdown_artifact(
        f"```json\n{json.dumps(verdict, indent=2)}\n```\n\n[Report with thumbnails]({report})",
        key="validation",
        description="Is this data fit to train on?",
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
