"""Promises of components.code_digest, on a package of three modules and on our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.code_digest import code_digest, write_code_digests
from components.workspace import STAGES, Workspace

MODULES = {
    "__init__.py": "",
    "__main__.py": """
def split(at):
    from toy.data.split import run
    return run(at)

def train(at):
    from toy.model import fit
    return fit(at)
""",
    "data/__init__.py": "",
    "data/split.py": 'from toy.tables import read\nPAGE = "pages/split.html"\ndef run(at): return read(at)\n',
    "data/pages/split.html": "<h1>Splits</h1>",
    "tables.py": "def read(at):\n    from toy import deep\n    return at\n",
    "deep.py": "X = 1\n",
    "model.py": "def fit(at): return at\n",
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, source in MODULES.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path / "toy"


def _changed(toy: Path, stage: str, name: str, source: str) -> bool:
    """Whether the digest of `stage` changes with the new source of `name` (digests are kept for a process)."""
    before = code_digest(stage, toy)
    copy = toy.parent.parent / f"{toy.parent.name}-changed" / "toy"
    for each in MODULES:
        (copy / each).parent.mkdir(parents=True, exist_ok=True)
        (copy / each).write_bytes((toy / each).read_bytes())
    (copy / name).write_text(source)
    return code_digest(stage, copy) != before


@pytest.mark.parametrize("name", ["data/split.py", "tables.py", "deep.py"])
def test_changed_code_counts_wherever_an_import_reaches_also_inside_a_function(toy: Path, name: str) -> None:
    source = (toy / name).read_text() + "Y = 2\n"
    assert _changed(toy, "split", name, source)
    assert not _changed(toy, "train", name, source)


def test_the_way_a_stage_is_called_counts_for_that_stage_alone(toy: Path) -> None:
    source = (toy / "__main__.py").read_text().replace("return run(at)", "return run(at.root)")
    assert _changed(toy, "split", "__main__.py", source)
    assert not _changed(toy, "train", "__main__.py", source)


def test_a_file_that_a_module_names_counts(toy: Path) -> None:
    assert _changed(toy, "split", "data/pages/split.html", "<h1>Other</h1>")


def test_comments_and_layout_do_not_count(toy: Path) -> None:
    assert not _changed(toy, "split", "deep.py", "# as measured\n\nX = (1)\n")


def test_digests_are_files_that_change_only_with_the_code(workspace: Workspace) -> None:
    write_code_digests(workspace)
    assert {path.name: path.read_text() for path in workspace.code.iterdir()} == {
        stage: code_digest(stage) for stage in STAGES
    }
    written = {path: path.stat().st_mtime_ns for path in workspace.code.iterdir()}
    write_code_digests(workspace)
    assert written == {path: path.stat().st_mtime_ns for path in workspace.code.iterdir()}
