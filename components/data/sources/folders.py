"""A folder for each label, alone or inside train/, val/ and test/.

In: a folder. Out: every file below a label's folder, sorted by name; deeper folders belong to the label above them.
Hidden and system files are passed over, symbolic links are followed, and no folder is entered twice for one label.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.sources import SPLITS, SYSTEM_FILES, Found, SourceError, clean_label, printable

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class FolderSource:
    root: Path

    def files(self) -> Iterator[Found]:
        """See `Source`. Pictures beside the label folders are found without a label."""
        empty = True
        for found in self._files():
            empty = False
            yield found
        if empty:
            raise SourceError(
                f"No files in {printable(str(self.root))}: expected {self.root.name}/<label>/<image>, "
                f"or {self.root.name}/train/<label>/<image> with val/ and test/ beside it."
            )

    def _files(self) -> Iterator[Found]:
        folders, files = _entries(self.root)
        yield from self._unlabelled(files, split=None)
        if not self._is_split(folders):
            for folder in folders:
                yield from self._labelled(folder, split=None)
            return
        for folder in folders:
            split = SPLITS[folder.name.lower()]
            labels, files = _entries(Path(folder.path))
            yield from self._unlabelled(files, split)
            for label in labels:
                yield from self._labelled(label, split)

    def _is_split(self, folders: list[os.DirEntry[str]]) -> bool:
        """Whether `folders` are train, val and test. One such name among others is a label: a train is a thing."""
        splits = [folder for folder in folders if folder.name.lower() in SPLITS]
        others = [printable(folder.name) for folder in folders if folder not in splits]
        deep = any(_entries(Path(folder.path))[0] for folder in splits)
        if len(splits) > 1 and (others or not deep):
            beside = f"beside them {', '.join(others[:5])}" if others else "no label folders inside"
            names = ", ".join(folder.name for folder in splits)
            raise SourceError(
                f"{printable(str(self.root))} holds {names}, and {beside}; expected "
                "train/<label>/<image>, val/<label>/<image>, test/<label>/<image>, or label folders alone."
            )
        return bool(splits) and not others and deep

    def _unlabelled(self, files: list[os.DirEntry[str]], split: str | None) -> Iterator[Found]:
        """Pictures where a label's folder was expected; other files there (a readme, a licence) mean nothing."""
        for file in files:
            if Path(file.name).suffix.lower() in PICTURES:
                yield self._found(file, None, split)

    def _labelled(self, folder: os.DirEntry[str], split: str | None) -> Iterator[Found]:
        label = clean_label(folder.name) or None
        parents = [parent for parent in Path(folder.path).parents if parent.is_relative_to(self.root)]
        seen = {_identity(parent) for parent in parents}  # a link back up would put other labels' files under this one
        waiting = [Path(folder.path)]
        while waiting:
            here = waiting.pop()
            if (identity := _identity(here)) in seen:
                continue
            seen.add(identity)
            folders, files = _entries(here)
            for file in files:
                yield self._found(file, label, split)
            waiting.extend(Path(entry.path) for entry in reversed(folders))

    def _found(self, file: os.DirEntry[str], label: str | None, split: str | None) -> Found:
        name = printable(file.path[len(str(self.root)) + 1 :])
        return Found(Path(file.path), name, label, split, said_by=f"{printable(self.root.name)}/{name}")


def _entries(folder: Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """(folders, everything else) in `folder`, sorted by name: the order of a file system differs between machines."""
    try:
        with os.scandir(folder) as entries:
            wanted = sorted((entry for entry in entries if _is_wanted(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None
    folders = [entry for entry in wanted if _is_folder(entry)]
    return folders, [entry for entry in wanted if not _is_folder(entry)]


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
