"""A workspace under DVC: track data, push it, run one stage, say which stages are stale; one run at a time.

In: a workspace. Out: dvc.lock, the cache in .dvc/, objects in the remote, and what happened, as values or as errors
that say what to do. Whoever calls `track` or `reproduce` holds `workspace_lock`, which also puts right what a killed
run left. What a stage does is left to `components.__main__`, which dvc.yaml calls.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from components.code_digest import write_code_digests
from components.dvc_command import dvc, news
from components.workspace import STAGES, Workspace, replace_file

if TYPE_CHECKING:
    from components.settings import Settings

CONFIG = """\
# Written by visionloop; your own settings of DVC (credentials, for example) go into config.local beside it.
[core]
    no_scm = True
    analytics = False
    autostage = False
    remote = store
[cache]
    type = hardlink,reflink,copy
['remote "store"']
    url = "{remote}"
"""
# DVC looks for dvc.yaml in every folder: keep it out of the bundles of old models, environments and pictures.
IGNORE = """\
/*
!/dvc.yaml
!/dvc.lock
!/params.yaml
!/data
!/.visionloop
/.visionloop/*
!/.visionloop/code
"""
BUSY = ("is busy, it is being blocked by:", "Unable to acquire lock. Most likely another DVC process")
LAST_LINES = 15  # of a failed command, shown in its error


class VersioningError(RuntimeError):
    """DVC could not do what was asked; the message holds its last lines and what to do."""


class WorkspaceBusy(VersioningError):
    """Another run is at work in this workspace."""


class StageFailed(VersioningError):
    """A stage ended with an error; the message holds its last lines."""


@dataclass(frozen=True)
class StageRun:
    stage: str
    changed: bool  # False: everything it depends on was as before, so its outputs were left alone
    seconds: float


@contextmanager
def workspace_lock(workspace: Workspace, wait_s: float = 0.0) -> Iterator[None]:
    """Let one run at a time into `workspace`; raise WorkspaceBusy when another stays longer than `wait_s` seconds.

    The lock belongs to the open file: `kill -9` frees it, while a DVC that outlives its caller still holds it.
    """
    workspace.state.mkdir(parents=True, exist_ok=True)
    with (workspace.state / "run.lock").open("a+", encoding="utf-8") as file:
        _acquire(file, workspace, wait_s)
        os.set_inheritable(file.fileno(), True)
        file.truncate(0)
        file.write(f"process {os.getpid()} ({' '.join(sys.argv)[:80]}), since {datetime.now(UTC):%H:%M:%S} UTC")
        file.flush()
        _drop_stale_rwlock(workspace)
        _bring_tables_back(workspace)
        yield


def _acquire(file: TextIO, workspace: Workspace, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() >= end:
            file.seek(0)
            raise WorkspaceBusy(f"{workspace.root} is in use by {file.read()}. Wait until it has ended, or stop it.")
        time.sleep(0.1)


def _drop_stale_rwlock(workspace: Workspace) -> None:
    """Remove what a killed DVC of ours left: we have the lock, so none lives, but DVC takes a zombie for one."""
    rwlock = workspace.root / ".dvc" / "tmp" / "rwlock"
    holders = re.findall(r'"cmd": "([^"]*)"', rwlock.read_text("utf-8", "replace")) if rwlock.exists() else []
    if holders and all("components/dvc_command.py" in each for each in holders):
        rwlock.unlink()


@contextmanager
def _tables_kept(workspace: Workspace) -> Iterator[None]:
    """Hold a second name of each table while DVC works: it removes a file before it links it to its cache."""
    kept = _kept(workspace)
    kept.mkdir(parents=True, exist_ok=True)
    for path in _tables(workspace):
        if path.is_file():
            (kept / path.name).unlink(missing_ok=True)
            _second_name(path, kept / path.name)
    try:
        yield
    finally:
        _bring_tables_back(workspace)


def _second_name(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, other)


def _bring_tables_back(workspace: Workspace) -> None:
    """Put a table back that DVC was killed over, and drop the second names."""
    for path in _tables(workspace):
        if not path.exists() and (_kept(workspace) / path.name).exists():
            (_kept(workspace) / path.name).replace(path)
    shutil.rmtree(_kept(workspace), ignore_errors=True)


def _kept(workspace: Workspace) -> Path:
    return workspace.state / "kept"


def _tables(workspace: Workspace) -> tuple[Path, ...]:
    return (workspace.manifest, workspace.labels, workspace.quarantine, workspace.conflicts, workspace.splits)


def ensure_dvc(workspace: Workspace, settings: Settings) -> None:
    """Make `workspace` a DVC repository without git, with the remote of `settings`; nothing changes when it is one."""
    remote = settings.remote if "://" in settings.remote else str(Path(settings.remote).expanduser().absolute())
    _write(workspace.root / ".dvc" / "config", CONFIG.format(remote=remote))
    if not (workspace.root / ".dvcignore").exists():
        _write(workspace.root / ".dvcignore", IGNORE)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replace_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def track(workspace: Workspace) -> str:
    """Put what ingest wrote under DVC's care (`dvc add`); return the data version."""
    written = (workspace.shards, workspace.manifest, workspace.labels, workspace.quarantine, workspace.conflicts)
    with _tables_kept(workspace):
        _checked(workspace, "track the data", "add", *(str(path.relative_to(workspace.root)) for path in written))
    return data_version(workspace)


def push(workspace: Workspace) -> None:
    """Copy to the remote what it has not yet; VersioningError when it cannot be reached (nothing is lost)."""
    _checked(workspace, "push to the remote (nothing is lost, the data is in .dvc/cache)", "push")


def data_version(workspace: Workspace) -> str:
    """12 hex digits that name the content of manifest, labels and splits (those that exist)."""
    from components.data.tables import tables_version

    return tables_version(workspace.manifest, workspace.labels, workspace.splits)


def stale_stages(workspace: Workspace) -> list[str]:
    """The stages whose own inputs, parameters, code or outputs changed, in order; those after them may follow.

    Takes the workspace's lock while DVC looks, so that what a killed run left does not stand in its way.
    """
    with workspace_lock(workspace):
        write_code_digests(workspace)
        output = _checked(workspace, "compare the stages with their inputs", "status", "--json")
    found = json.loads(next(line for line in reversed(output) if line.startswith("{")))
    return [stage for stage in STAGES if stage in found]


def reproduce(workspace: Workspace, stage: str, environment: Mapping[str, str], say: Callable[[str], None]) -> StageRun:
    """Run `stage` if it is stale, with `environment` added to ours; what it prints goes to `say`, line by line.

    Raises StageFailed with its last lines, WorkspaceBusy when another DVC works here.
    """
    write_code_digests(workspace)
    began = time.monotonic()
    with _tables_kept(workspace):
        code, output = dvc(workspace, ["repro", "--single-item", stage], environment, say)
    if code:
        _raise_known(workspace, output)
        raise StageFailed(
            f"Stage {stage} failed. Its last lines:\n{_tail(output)}\nMend the cause and run the same command again; "
            "what the stages before it made is kept."
        )
    changed = not any(line.startswith(f"Stage '{stage}' didn't change") for line in output)
    return StageRun(stage, changed, time.monotonic() - began)


def _checked(workspace: Workspace, aim: str, *arguments: str) -> list[str]:
    code, output = dvc(workspace, list(arguments))
    if code:
        _raise_known(workspace, output)
        raise VersioningError(f"Could not {aim}:\n{_tail(output)}\nMend the cause and run the same command again.")
    return output


def _raise_known(workspace: Workspace, output: list[str]) -> None:
    text = "\n".join(output)
    if any(sign in text for sign in BUSY):
        raise WorkspaceBusy(
            f"Another DVC command is at work in {workspace.root}. Wait until it has ended; if there is none, "
            f"delete {workspace.root / '.dvc' / 'tmp' / 'rwlock'} and run the same command again."
        )


def _tail(output: list[str]) -> str:
    return "\n".join(f"  {line}" for line in [line for line in output if news(line)][-LAST_LINES:])
