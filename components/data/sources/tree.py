"""Files that lie elsewhere, under names that somebody else chose -> a folder that the sources can read.

In: names as an archive or a bucket has them, and where the bytes of each are. Out: a folder of symbolic links with
those names; a SourceError for a name that would leave it. `files` reads the folder as a source and calls its files
what the user calls them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from components.data.sources import Found, Read, SourceError, open_source, printable
from components.data.sources.listing import entries, split_in

LONGEST = 255  # bytes of a name in a file system


@dataclass(frozen=True)
class Tree:
    """An empty folder `root`, and what a user calls it: a file, a folder or an address."""

    root: Path
    called: str

    @classmethod
    def planted(cls, root: Path, called: str) -> Tree:
        """In place of what an earlier run left."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        return cls(Path(os.path.realpath(root)), called)

    def add(self, name: str, file: Path) -> None:
        """Let `name` stand for `file`; raise SourceError when it is no name of a file in the tree, or taken."""
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in {"", "."}]
        reason = _wrong(plain, parts)
        place = self.root.joinpath(*parts)
        if reason or os.path.lexists(place):
            raise SourceError(f"{self.called} holds {printable(name)!r}: {reason or 'there twice'}. Nothing was added.")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file)
        except FileExistsError:
            raise SourceError(
                f"{self.called} holds {printable(name)!r} below a file of that name. Nothing was added."
            ) from None

    def files(self, read: Read, name: str | None, cache: Path) -> Iterator[Found]:
        """Every file, read as the layout `name`, or as the one that it looks like."""
        try:
            for found in open_source(self._start(), read, name, cache).files():
                yield self._renamed(found)
        except SourceError as error:
            raise SourceError(str(error).replace(str(self.root), self.called)) from None

    def _renamed(self, found: Found) -> Found:
        """With the place that the user knows; one outside of the tree is refused (a table names any path)."""
        plain = os.path.normpath(found.path)
        if not plain.startswith(f"{self.root}{os.sep}"):
            objection = ("outside", f"{found.said_by}: path {found.name} leads out of {self.called}")
            return replace(
                found, path=self.root / "outside", label=None, objection=objection, place=f"{self.called}: {found.name}"
            )
        return replace(found, place=printable(self.called + plain[len(str(self.root)) :]))

    def _start(self) -> Path:
        """The root, or the only folder in it: archives are often made of a folder and not of what is in it."""
        here = self.root
        while True:
            folders, files = entries(here)
            if files or len(folders) != 1 or split_in([folders[0].name]) or not entries(Path(folders[0].path))[0]:
                return here
            here = Path(folders[0].path)


def _wrong(name: str, parts: list[str]) -> str:
    """Why `name`, made of these parts, is not the name of a file below a folder; or an empty text."""
    if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
        return "an absolute path"
    if ".." in parts:
        return "a path that leads out of it"
    if not parts or "\0" in name:
        return "not the name of a file"
    if any(len(os.fsencode(part)) > LONGEST for part in parts):
        return f"a name of more than {LONGEST} bytes"
    return ""


def sweep(cache: Path) -> None:
    """Remove the copies that archives and inboxes left in `cache`; those of buckets save the next download."""
    for folder in [*cache.glob("archive-*"), *cache.glob("inbox-*")]:
        shutil.rmtree(folder, ignore_errors=True)
