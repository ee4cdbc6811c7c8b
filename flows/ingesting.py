"""A folder, table, archive or bucket of images -> a tracked dataset version: ingest, `dvc add`, `dvc push`.

In: a source. Out: how many images were added, known, quarantined or in conflict. Ingest has effects, so it is no
DVC stage: a cache must never skip it. Reading the files is left to `components.data.ingest`, what a label must say to
the task of params.yaml.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from components.launcher.local import LocalLauncher
from components.params import load_params
from components.report import Report, Terminal
from components.settings import load_settings
from components.workspace import Workspace

if TYPE_CHECKING:
    from components.data.ingest import Ingested
    from components.data.sources import Source


def ingest_source(
    workspace: Workspace,
    source: Path | str | Source,
    report: Report | None = None,
    format: str | None = None,  # noqa: A002 - as on the command line
) -> Ingested:
    """Add the images of `source` to the dataset and push the new version; the workspace is locked meanwhile.

    `source` may be `s3://bucket/prefix`; `format` names its layout, which is recognised otherwise.
    """
    from components.versioning import workspace_lock

    with workspace_lock(workspace):
        return ingest_locked(workspace, source, report, format)


def ingest_locked(
    workspace: Workspace,
    source: Path | str | Source,
    report: Report | None = None,
    format: str | None = None,  # noqa: A002
) -> Ingested:
    """As `ingest_source`, for a caller that already holds the workspace's lock."""
    from components.data.ingest import ingest
    from components.data.sources import open_source
    from components.data.sources.tree import sweep
    from components.data.versions import remember
    from components.tasks import task_named
    from components.versioning import ensure_dvc, push, track

    settings, params = load_settings(workspace), load_params(workspace.params)
    task, cache = task_named(params.task), workspace.state / "sources"
    found = open_source(source, task.label_of, format, cache) if isinstance(source, Path | str) else source
    launcher, heard = LocalLauncher(settings.workers), report or Terminal()
    remember(workspace)
    try:
        ingested = ingest(found, workspace, params.ingest, launcher, heard, datetime.now(UTC), task.check, task.shown)
    finally:
        sweep(cache)
    ensure_dvc(workspace, settings)
    track(workspace)
    remember(workspace)
    push(workspace)
    return ingested
