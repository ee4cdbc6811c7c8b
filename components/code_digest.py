"""A digest of the code behind each stage, as one small file a stage that dvc.yaml lists among the stage's inputs.

In: the source of this package. Out: .visionloop/code/<stage>, sha256 over the stage's function in
`components.__main__`, every components module it reaches by import (also by imports inside functions) and the files
beside them that they name. Comments and layout do not count: only code that could change a result makes a stage stale.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from components.workspace import STAGES, Workspace, replace_file

PACKAGE = Path(__file__).resolve().parent
FILE = re.compile(r"[\w/-]{1,100}\.\w{1,10}")


def write_code_digests(workspace: Workspace) -> None:
    """Bring .visionloop/code/<stage> up to date for every stage; files that are right already are left alone."""
    for stage in STAGES:
        path = workspace.code / stage
        digest = code_digest(stage)
        if not path.is_file() or path.read_text(encoding="ascii") != digest:
            with replace_file(path) as temporary:
                temporary.write_text(digest, encoding="ascii")


@cache
def code_digest(stage: str, package: Path = PACKAGE) -> str:
    """sha256 over the code behind `stage`, hex; the same until this process ends."""
    entry = stage_function(stage, package)
    digest = hashlib.sha256(ast.dump(entry).encode())
    for path in sorted(reached(entry, package)):
        content = ast.dump(_parse(path)).encode() if path.suffix == ".py" else path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def stage_function(stage: str, package: Path = PACKAGE) -> ast.FunctionDef:
    """The function of `components.__main__` that runs `stage`; its imports say what the stage needs."""
    tree = _parse(package / "__main__.py")
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stage)


def reached(entry: ast.AST, package: Path = PACKAGE) -> set[Path]:
    """The files of `package` that `entry` reaches: modules by import, and files that those name."""
    found: set[Path] = set()
    waiting = list(_imports(entry, package))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            found.update(_named_files(path))
            waiting += _imports(_parse(path), package)
    return found


def _imports(tree: ast.AST, package: Path) -> Iterator[Path]:
    """Modules of `package` that `tree` imports, with the __init__ of every package around them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(alias.name, package)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from _modules(f"{node.module}.{alias.name}", package)


def _modules(name: str, package: Path) -> Iterator[Path]:
    first, *parts = name.split(".")
    if first == package.name:
        for end in range(len(parts) + 1):
            path = package.joinpath(*parts[:end])
            yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file())


def _named_files(module: Path) -> Iterator[Path]:
    """Files that `module` names by a path from its own folder, such as `templates/report.html`."""
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE.fullmatch(node.value):
            path = module.parent / node.value
            if path.is_file() and path.suffix != ".py":
                yield path


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
