"""A version of the dataset -> a folder that other tools read.

In: a data version, a model's number, or nothing for what stands now. Out: what was written. Writing is left to
`components.data.export_dataset`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.params import load_params
from components.settings import Settings, load_settings
from components.workspace import Workspace

if TYPE_CHECKING:
    from components.data.export_dataset import Exported, Tables
    from components.data.writers import Format

LONGEST_NUMBER = 3  # digits of a model's number; a longer one is the beginning of a data version


def export_version(workspace: Workspace, folder: Path, name: Format, version: str | None = None) -> Exported:
    """Write the images and labels of `version` into the new `folder`, in the format `name`.

    Raises UnknownVersion for a version that is not on this machine, ExportError for what cannot be written.
    """
    from components.data.export_dataset import export_dataset
    from components.tasks import task_named

    task = task_named(load_params(workspace.params).task)
    tables = _tables(workspace, load_settings(workspace), version)
    return export_dataset(tables, workspace.shards, folder.absolute(), name, task.label_of, task.check)


def _tables(workspace: Workspace, settings: Settings, version: str | None) -> Tables:
    from components.data.export_dataset import Tables
    from components.data.versions import recall, remember

    remember(workspace)
    if version is None:
        return Tables(workspace.manifest, workspace.labels, workspace.splits if workspace.splits.exists() else None)
    stores = (workspace.root / ".dvc" / "cache", Path(settings.remote))
    found = recall(workspace, _data_version(settings, version), stores)
    return Tables(found["manifest.parquet"], found["labels.parquet"], found.get("splits.parquet"))


def _data_version(settings: Settings, version: str) -> str:
    """That of a model where `version` is its number, such as 3 or v3."""
    from components.data.versions import UnknownVersion
    from components.state.database import open_state
    from components.state.ledger import model

    digits = version.removeprefix("v")
    if not digits.isdecimal() or (len(digits) > LONGEST_NUMBER and digits == version):
        return version
    known = model(open_state(settings.database_url), int(digits))
    if known is None:
        raise UnknownVersion(f"There is no model v{digits}. `visionloop status` tells the newest.")
    return known.data_version
