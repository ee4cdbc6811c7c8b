"""Where images come from: `Source` finds files and what is said about each; one module for each layout.

In: a path that a user names. Out: `Found`, one for each file that claims to be an image, in the same order each time.
Nothing is decoded here: whether the bytes are an image is for `components.data.ingest` to find out.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separators


class SourceError(ValueError):
    """The path holds no images in a layout that is known here; the message says what was found and expected."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file and what its source says about it. Texts are printable UTF-8, whatever the file is called."""

    path: Path
    name: str  # relative to the source
    label: str | None  # None: the source says nothing, and ingest puts the file aside
    split: str | None = None  # train, val, test, or None where the source leaves it open
    origin: str = "source"  # "feedback": a person's verdict, which outranks folders and tables
    author: str = ""
    said_by: str = ""  # what said the label: a file in its folder, a line of a table, a request


class Source(Protocol):
    def files(self) -> Iterator[Found]:
        """Every file, in the same order each time; raise SourceError when the source cannot be read or is empty."""
        ...


def open_source(path: Path) -> Source:
    """The source at `path`, recognised by looking at it; raise SourceError when it is none."""
    from components.data.sources.folders import FolderSource
    from components.data.sources.tabular import TableSource

    path = Path(os.path.realpath(path))  # Path.resolve raises on a link to itself
    if path.is_dir():
        return FolderSource(path)
    if path.is_file() and path.suffix.lower() in {".csv", ".tsv"}:
        return TableSource(path)
    found = f"a {path.suffix or 'plain'} file" if path.is_file() else "nothing that can be read"
    raise SourceError(
        f"{printable(str(path))}: found {found}; expected a folder with a folder of images for each label, "
        "or a .csv file with the columns path and label."
    )


def printable(text: str) -> str:
    """`text` on one line and in UTF-8: control characters and bytes of no known encoding are written as escapes."""
    if text.isprintable():
        return text
    escaped = (repr(each)[1:-1] if unicodedata.category(each) in UNPRINTABLE else each for each in text)
    return "".join(escaped)


def clean_label(text: str) -> str:
    """A label as it is compared and stored: printable, composed (NFC), without blanks around it."""
    return unicodedata.normalize("NFC", printable(text)).strip()
