"""A folder that others put files into, at any time: only those that are complete are taken.

In: the folder. Out: what a folder with its complete files would give; nothing is an answer too. A file is complete when
neither its bytes nor its times have changed for SETTLED seconds and its name is not one that programs give to halves.
The time of the last change is the file system's own, which no program sets back.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
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
    settled: float = SETTLED
    clock: Callable[[], float] = time.time

    def files(self) -> Iterator[Found]:
        """See `Source`; nothing where no file is complete yet."""
        place = self.cache / f"inbox-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]}"
        tree = Tree.planted(place / self.root.name, printable(str(self.root)))
        names = self.complete()
        for name in names:
            tree.add(name, self.root / name)
        if names:
            yield from tree.files(self.read, None, place)

    def complete(self) -> list[str]:
        """The names of the complete files, relative to the inbox."""
        start, now = len(str(self.root)) + 1, self.clock()
        return [entry.path[start:] for entry in files_below(self.root) if self._is_complete(entry, now)]

    def _is_complete(self, entry: os.DirEntry[str], now: float) -> bool:
        if entry.name.lower().endswith(HALVES):
            return False
        try:
            found = entry.stat()
        except OSError:  # went away, or a link to nothing
            return False
        return now - max(found.st_mtime, found.st_ctime) >= self.settled
