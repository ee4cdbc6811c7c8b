"""How every command finds its workspace: the option `--workspace`, and the workspace behind it.

In: a folder. Out: the workspace in it and its settings, with every vendor quiet from here on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from components.settings import Settings

HERE = Path()
Folder = Annotated[Path, typer.Option("--workspace", metavar="DIR", help="Folder of params.yaml, dvc.yaml and data/.")]


def opened(folder: Path) -> tuple[Workspace, Settings]:
    """The workspace in `folder` and its settings; raise WorkspaceError when it is none."""
    from components.settings import load_settings, quiet_vendors

    workspace = open_workspace(folder)
    quiet_vendors(workspace.state)
    return workspace, load_settings(workspace)
