"""A folder that others put files into, at any time: only those that are complete are taken.

In: the folder. Out: what a folder with its complete files would give; nothing is an answer too. A file is complete when
neither its bytes nor its times have changed for SETTLED seconds and its name is not one that programs give to halves.
The time of the last change is the file system's own, which no program sets back.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.sources import Found, Read, printable
from components.data.sources.listing import files_below
from components.data.sources.tree import Tree

SETTLED = 10.0  # s
HALVES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")


@dataclass(frozen=True)
class InboxSource:
    root: Path
    read: Read
    cache: Path

    def files(self) -> Iterator[Found]:
        """See `Source`; nothing where no file is complete yet."""
        place = self.cache / f"inbox-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]}"
        tree = Tree.planted(place / self.root.name, printable(str(self.root)))
        names = complete_files(self.root)
        for name in names:
            tree.add(name, self.root / name)
        if names:
            yield from tree.files(self.read, None, place)


def complete_files(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change (ns) of the complete files, by name relative to `root`."""
    start, now = len(str(root)) + 1, time.time()
    found = ((entry.path[start:], _stat(entry)) for entry in files_below(root) if not _is_half(entry.name))
    return {
        name: (stat.st_size, stat.st_ctime_ns)
        for name, stat in found
        if stat and now - max(stat.st_mtime, stat.st_ctime) >= SETTLED
    }


def _is_half(name: str) -> bool:
    return name.lower().endswith(HALVES)


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # went away, or a link to nothing
        return None
