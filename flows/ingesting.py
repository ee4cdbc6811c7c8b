"""A folder or table of images -> a tracked dataset version: ingest, `dvc add`, `dvc push`.

In: a source. Out: how many images were added, known, quarantined or in conflict. Ingest has effects, so it is no
DVC stage: a cache must never skip it. Reading the files is left to `components.data.ingest`.
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


def ingest_source(workspace: Workspace, source: Path | Source, report: Report | None = None) -> Ingested:
    """Add the images of `source` to the dataset and push the new version; the workspace is locked meanwhile."""
    from components.versioning import workspace_lock

    with workspace_lock(workspace):
        return ingest_locked(workspace, source, report)


def ingest_locked(workspace: Workspace, source: Path | Source, report: Report | None = None) -> Ingested:
    """As `ingest_source`, for a caller that already holds the workspace's lock."""
    from components.data.ingest import ingest
    from components.data.sources import open_source
    from components.versioning import ensure_dvc, push, track

    settings = load_settings(workspace)
    found = open_source(source) if isinstance(source, Path) else source
    launcher = LocalLauncher(settings.workers)
    params = load_params(workspace.params).ingest
    ingested = ingest(found, workspace, params, launcher, report or Terminal(), datetime.now(UTC))
    ensure_dvc(workspace, settings)
    track(workspace)
    push(workspace)
    return ingested
