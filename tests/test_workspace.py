"""A workspace is a folder that is opened or refused with what to do; a file in it is old or new, never half."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from components.workspace import (
    STAGES,
    WorkspaceError,
    create_workspace,
    open_workspace,
    replace_file,
    replace_folder,
)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_workspace_has_commented_params_and_stages(tmp_path):
    workspace = create_workspace(tmp_path / "photos of birds 🐦")
    assert "# px" in workspace.params.read_text(encoding="utf-8")
    assert all(f"\n  {stage}:" in workspace.dvc.read_text(encoding="utf-8") for stage in STAGES)
    assert workspace == open_workspace(workspace.root)


def test_a_workspace_is_never_overwritten(workspace):
    workspace.params.write_text("mine")
    with pytest.raises(WorkspaceError, match=r"already has params\.yaml and dvc\.yaml; nothing was changed"):
        create_workspace(workspace.root)
    assert workspace.params.read_text() == "mine"


def test_a_folder_that_is_no_workspace_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(WorkspaceError, match=r"no params.yaml and no dvc.yaml.*visionloop init"):
        open_workspace(tmp_path)
    assert names_in(tmp_path) == set()


def test_half_a_workspace_is_refused_with_what_is_missing(workspace):
    workspace.dvc.unlink()
    with pytest.raises(WorkspaceError, match=r"no dvc\.yaml"):
        open_workspace(workspace.root)


def test_state_stays_out_of_version_control(workspace):
    assert "/.visionloop/" in (workspace.root / ".gitignore").read_text().splitlines()


def test_a_replaced_file_is_new_as_a_whole(tmp_path):
    path = tmp_path / "table"
    path.write_text("old")
    with replace_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == {"table"}


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table"
    path.write_text("old")
    with suppress(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert names_in(tmp_path) == {"table"}


def test_a_replaced_folder_holds_only_what_is_new(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")
    with replace_folder(folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "new").write_text("new")
    assert names_in(folder) == {"deep"}
    assert names_in(tmp_path) == {"model"}


def test_a_failure_while_filling_a_folder_leaves_the_old_one(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")
    with suppress(ZeroDivisionError), replace_folder(folder) as temporary:
        (temporary / "half").write_text("half")
        _ = 1 / 0
    assert names_in(folder) == {"old"}
    assert names_in(tmp_path) == {"model"}


@pytest.mark.parametrize("block", ["replace_file", "replace_folder"])
def test_kill_9_while_writing_leaves_what_was_there(tmp_path, block):
    """The process dies inside the block; a reader still finds the old content, and a rerun gets through."""
    target = tmp_path / "target"
    write = "t.write_text" if block == "replace_file" else "(t / 'x').write_text"
    code = (
        "import os, sys; from pathlib import Path; from components.workspace import *\n"
        f"with {block}(Path(sys.argv[1])) as t:\n"
        f"    {write}(sys.argv[2])\n"
        "    if sys.argv[2] == 'half': os.kill(os.getpid(), 9)\n"
    )
    for content, status in (("old", 0), ("half", -9), ("new", 0)):
        assert subprocess.run([sys.executable, "-c", code, str(target), content]).returncode == status
        found = (target if block == "replace_file" else target / "x").read_text()
        assert found == {"half": "old"}.get(content, content)
