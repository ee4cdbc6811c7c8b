"""A workspace: one folder with params.yaml, dvc.yaml and data/, and the names of all files in it.

In: a folder. Out: paths, and nothing read or written but by `create` and `replace_file`. DVC tracks what lies in
data/; `.visionloop/` holds state that belongs to this machine (databases, logs, models, caches).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TEMPLATE = Path(__file__).resolve().parent.parent
TaskName = Literal["classification", "multilabel", "detection", "segmentation"]
STAGES = ("validate", "split", "train", "evaluate", "export", "compile")


class WorkspaceError(RuntimeError):
    """The folder is not a workspace, or cannot become one; the message says what to do."""


@dataclass(frozen=True)
class Workspace:
    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def dvc(self) -> Path:
        return self.root / "dvc.yaml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    # What ingest writes; `dvc add` tracks it.
    @property
    def shards(self) -> Path:
        return self.data / "shards"

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.parquet"

    @property
    def labels(self) -> Path:
        return self.data / "labels.parquet"

    @property
    def quarantine(self) -> Path:
        return self.data / "quarantine.parquet"

    @property
    def conflicts(self) -> Path:
        return self.data / "conflicts.parquet"

    # What training starts from: empty, or the weights of the champion (written by retraining).
    @property
    def start(self) -> Path:
        return self.data / "start"

    # What the stages write, one output each.
    @property
    def validation(self) -> Path:
        return self.data / "validation"

    @property
    def splits(self) -> Path:
        return self.data / "splits.parquet"

    @property
    def model(self) -> Path:
        return self.data / "model"

    @property
    def evaluation(self) -> Path:
        return self.data / "evaluation"

    @property
    def export(self) -> Path:
        return self.data / "export"

    @property
    def engine(self) -> Path:
        return self.data / "engine"

    # State of this machine.
    @property
    def state(self) -> Path:
        return self.root / ".visionloop"

    @property
    def checkpoints(self) -> Path:
        return self.state / "checkpoints"

    @property
    def pixels(self) -> Path:
        return self.state / "pixels"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def outbox(self) -> Path:
        return self.state / "outbox"

    @property
    def reports(self) -> Path:
        return self.state / "reports"

    @property
    def code(self) -> Path:
        return self.state / "code"


def open_workspace(root: Path) -> Workspace:
    """The workspace in `root`; raise WorkspaceError when it has no params.yaml or dvc.yaml."""
    workspace = Workspace(root.resolve())
    missing = [path.name for path in (workspace.params, workspace.dvc) if not path.is_file()]
    if missing:
        raise WorkspaceError(
            f"{root} is not a workspace: no {' and no '.join(missing)}. "
            f"Make one with `visionloop init {root}`, or name another with --workspace."
        )
    for folder in (workspace.data, workspace.start, workspace.state):
        folder.mkdir(parents=True, exist_ok=True)
    return workspace


def create_workspace(root: Path, task: str = "classification") -> Workspace:
    """Write commented params.yaml (for `task`) and dvc.yaml into `root`; raise WorkspaceError rather than overwrite."""
    from components.presets import params_text

    present = [name for name in ("params.yaml", "dvc.yaml") if (root / name).exists()]
    if present:
        raise WorkspaceError(f"{root} already has {' and '.join(present)}; nothing was changed.")
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(params_text(task), encoding="utf-8")
    shutil.copyfile(TEMPLATE / "dvc.yaml", root / "dvc.yaml")
    (root / ".gitignore").write_text("/.visionloop/\n/.dvc/\n/data/\n", encoding="utf-8")
    return open_workspace(root)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it over `path`, else remove it.

    A reader sees the old file or the whole new one, also after `kill -9` or a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """As `replace_file`, for a folder: yield an empty one, and swap it for `path` when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for each in temporary.rglob("*"):
            _sync(each)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other thread or process is inside a block with the same `lock` file; `kill -9` frees it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
