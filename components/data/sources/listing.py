"""Files below a folder, in the same order on every machine, and what their names and headers tell.

In: a folder. Out: its entries; an index of its pictures by name; splits from names of folders; the size of a picture
from its header. Hidden and system files are passed over, links are followed, and no folder is entered twice.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from components.data.annotations import LabelError
from components.data.sources import SPLITS, SYSTEM_FILES, SourceError, printable

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height


def entries(folder: Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """(folders, everything else) in `folder`, sorted by name: the order of a file system differs between machines."""
    try:
        with os.scandir(folder) as found:
            wanted = sorted((entry for entry in found if _is_wanted(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None
    folders = [entry for entry in wanted if _is_folder(entry)]
    return folders, [entry for entry in wanted if not _is_folder(entry)]


def files_below(root: Path, seen: Iterable[Path] = ()) -> Iterator[os.DirEntry[str]]:
    """Every file below `root`, those of a folder before those of the folders in it; folders in `seen` are left out."""
    known = {_identity(folder) for folder in seen}
    waiting = [root]
    while waiting:
        here = waiting.pop()
        if (identity := _identity(here)) in known:
            continue
        known.add(identity)
        folders, files = entries(here)
        yield from files
        waiting.extend(Path(entry.path) for entry in reversed(folders))


def is_picture(name: str) -> bool:
    """By its suffix; what is in the file is for ingest to find out."""
    return PurePath(name).suffix.lower() in PICTURES


def split_in(folders: Iterable[str]) -> str | None:
    """The split that the innermost of `folders` is called after: train, but also train2017."""
    plain = (re.sub(r"[-_]?\d+$", "", name.lower()) for name in reversed(list(folders)))
    return next((SPLITS[name] for name in plain if name in SPLITS), None)


def split_in_stem(stem: str) -> str | None:
    """The one split in the name of a file such as instances_train2017."""
    found = {SPLITS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def lists_of_splits(root: Path) -> dict[str, str]:
    """Split by stem of picture, from ImageSets/*/{train,val,test}.txt of Pascal VOC."""
    found: dict[str, str] = {}
    for path in sorted(root.glob("ImageSets/*/*.txt")):
        if path.stem.lower() in SPLITS:
            words = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
            found |= {each[0]: SPLITS[path.stem.lower()] for each in words if each}
    return found


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in px of the upright picture, from its header; raise LabelError where there is none."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            turned = image.getexif().get(0x0112) in TURNED and image.format != "TIFF"
            return (image.height, image.width) if turned else image.size
    except Exception as error:  # decoders raise whatever they like; ingest says what is wrong with the file
        raise LabelError("no_size", f"the size of {path.name} cannot be read: {error}") from None


def known_size(path: Path) -> tuple[int, int] | None:
    """As `picture_size`, None where there is no such picture: then ingest tells what is wrong with it."""
    try:
        return picture_size(path)
    except LabelError:
        return None


@dataclass(frozen=True)
class Pictures:
    """The pictures below `root`, found by what annotations call them."""

    root: Path

    @cached_property
    def names(self) -> list[str]:
        """Paths relative to the root, sorted by folder."""
        start = len(str(self.root)) + 1
        return [entry.path[start:] for entry in files_below(self.root) if is_picture(entry.name)]

    def find(self, said: str, near: str = "", split: str | None = None) -> Path | None:
        """The picture that is called `said`, a path of which folders may be missing or wrong; None if there is none.

        Of several, the one that lies in the folder `near` (relative to the root) or belongs to `split`; raise
        LabelError when that leaves more than one.
        """
        parts = _parts(said)
        return self._choose(self._by_name.get(parts[-1], []), lambda name: name, parts, near, split) if parts else None

    def find_stem(self, stem: str, near: str = "", split: str | None = None) -> Path | None:
        """As `find`, for a name without suffix."""
        parts = _parts(stem)
        return self._choose(self._by_stem.get(parts[-1], []), _without_suffix, parts, near, split) if parts else None

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped((PurePath(name).name, name) for name in self.names)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped((PurePath(name).stem, name) for name in self.names)

    def _choose(
        self, found: list[str], called: Callable[[str], str], parts: list[str], near: str, split: str | None
    ) -> Path | None:
        wanted = "/".join(["", *parts])
        tests: tuple[Callable[[str], bool], ...] = (
            lambda name: f"/{called(name)}".endswith(wanted),
            lambda name: str(PurePath(name).parent) == (near or "."),
            lambda name: split is not None and split_in(Path(name).parts[:-1]) == split,
        )
        for fits in tests:
            if len(found) > 1:
                found = [name for name in found if fits(name)] or found
        if len(found) > 1:
            raise LabelError("ambiguous", f"{wanted[1:]} may be {found[0]} or {found[1]}; expected one such picture")
        return self.root / found[0] if found else None


def _parts(said: str) -> list[str]:
    return [part for part in said.replace("\\", "/").split("/") if part not in {"", ".", ".."}]


def _without_suffix(name: str) -> str:
    return str(PurePath(name).with_suffix(""))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from None
    return found.st_dev, found.st_ino


def _unreadable(folder: Path, error: OSError) -> SourceError:
    return SourceError(f"{printable(str(folder))} cannot be read: {error.strerror}. Nothing was added.")


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
