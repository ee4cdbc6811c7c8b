"""What data.yaml says of train, val and test -> the split of folders and pictures.

In: the folder of a data set and its data.yaml. Out: splits by path relative to the folder. An entry is a folder or a
.txt that lists pictures; one that is named for two splits, as tiny examples do, decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.data.sources import SPLITS
from components.data.sources.class_names import yaml_in


def yolo_splits(root: Path, described_by: Path) -> dict[str, str]:
    """By path of a folder or picture; paths are relative to `root`."""
    if described_by.suffix.lower() not in {".yaml", ".yml"}:
        return {}
    content = yaml_in(described_by)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, split in SPLITS.items():
        for entry in _entries(content.get(key)):
            for name in _names(root, str(content.get("path") or ""), entry):
                found[name].add(split)
    return {name: splits.pop() for name, splits in found.items() if len(splits) == 1}


def _entries(found: Any) -> list[str]:
    return [str(each) for each in found] if isinstance(found, list) else [str(found)] if found else []


def _names(root: Path, base: str, entry: str) -> Iterator[str]:
    """The folder, or the pictures listed in the file, that `entry` stands for; nothing where it does not exist."""
    path = _existing(root, base, entry)
    if path is None:
        return
    if not path.is_file():
        yield str(path.relative_to(root))
        return
    for line in path.read_text("utf-8", "replace").splitlines():
        if line.strip() and (picture := _existing(root, base, line.strip())):
            yield str(picture.relative_to(root))


def _existing(root: Path, base: str, entry: str) -> Path | None:
    """Entries are relative to `path:` or to the file; some tools write ../train/images for what lies beside it."""
    parts = [part for part in Path(entry).parts if part not in {".", ".."}]
    places = (root / base / entry, root / entry, root.joinpath(*[part for part in parts if part != "/"]))
    resolved = (Path(root.anchor).joinpath(*_plain(place)) for place in places)
    return next((place for place in resolved if place.is_relative_to(root) and place != root and place.exists()), None)


def _plain(path: Path) -> list[str]:
    """The parts of an absolute path, without . and .."""
    found: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            del found[-1:]
        elif part != ".":
            found.append(part)
    return found
