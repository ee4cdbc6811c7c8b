"""Which tables each data version had, so that an old one can be found again in DVC's stores.

In: a workspace. Out: `.visionloop/versions/<version>.json`, the md5 of each table by name, written when a version is
about to change and after it did. DVC keeps files by their md5; fetching what only a remote has is left to `dvc pull`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from components.data.tables import tables_version
from components.workspace import Workspace, replace_file

SHORTEST = 4  # hex digits that name a version


class UnknownVersion(ValueError):
    """No data version is called so, or its tables are not on this machine; the message says what to do."""


def remember(workspace: Workspace) -> str:
    """Note the tables of the version that stands; return its name, or an empty text where there is no dataset yet."""
    tables = _tables(workspace)
    if not workspace.manifest.is_file():
        return ""
    version = tables_version(*tables)
    path = _folder(workspace) / f"{version}.json"
    if not path.is_file():
        with replace_file(path) as temporary:
            found = {table.name: _md5(table) for table in tables if table.is_file()}
            temporary.write_text(json.dumps(found, indent=1), encoding="ascii")
    return version


def recall(workspace: Workspace, version: str, stores: Sequence[Path]) -> dict[str, Path]:
    """The tables of `version`, or of the one that begins so, by file name; `stores` are folders as DVC keeps them.

    Raises UnknownVersion.
    """
    known = sorted(path.stem for path in _folder(workspace).glob("*.json"))
    fitting = [name for name in known if len(version) >= SHORTEST and name.startswith(version.lower())]
    if len(fitting) != 1:
        found = f"are {', '.join(fitting or known[-5:]) or 'none'}"
        raise UnknownVersion(f"{len(fitting) or 'No'} data version(s) begin with {version!r}; known {found}.")
    wanted: dict[str, str] = json.loads((_folder(workspace) / f"{fitting[0]}.json").read_text(encoding="ascii"))
    return {name: _stored(workspace, name, md5, stores) for name, md5 in wanted.items()}


def _stored(workspace: Workspace, name: str, md5: str, stores: Sequence[Path]) -> Path:
    places = (workspace.data / name, *(store / "files" / "md5" / md5[:2] / md5[2:] for store in stores))
    for place in places:
        if place.is_file() and _md5(place) == md5:
            return place
    raise UnknownVersion(f"{name} of that version (md5 {md5}) is not on this machine; fetch it with `dvc pull`.")


def _tables(workspace: Workspace) -> tuple[Path, Path, Path]:
    return workspace.manifest, workspace.labels, workspace.splits


def _folder(workspace: Workspace) -> Path:
    return workspace.state / "versions"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
