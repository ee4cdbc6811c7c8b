"""A workspace whose images are ingested and split, without DVC: what the commands beside the loop begin with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from components.data.ingest import ingest
from components.data.sources import open_source
from components.data.split import split
from components.launcher.local import LocalLauncher
from components.params import load_params
from components.report import Silent
from components.workspace import Workspace
from tests.drawing import draw_folder


def prepare(workspace: Workspace, folder: Path, per_class: int) -> Workspace:
    """Give `workspace` so many drawn pictures of each shape."""
    params = load_params(workspace.params)
    source = open_source(draw_folder(folder, per_class))
    ingest(source, workspace, params.ingest, LocalLauncher(1), Silent(), datetime.now(UTC))
    split(workspace.manifest, workspace.labels, workspace.splits, params.split, Silent())
    return workspace
