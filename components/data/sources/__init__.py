"""Where images come from: `Source` finds files and what is said about each; one module for each layout.

In: a path that a user names, and how the task reads what is said. Out: `Found`, one for each file that claims to be an
image, in the same order each time. Nothing is decoded here but headers and masks: whether the bytes are an image is
for `components.data.ingest` to find out. What is wrong with one annotation becomes an objection to its image, what is
wrong with the whole a SourceError.

The formats are read here and not by datumaro or supervision: both stop at, or silently pass over, the first annotation
that is not as expected and tell no line or id of it, where every single one is to be put aside with its reason; and
both bring OpenCV and dozens of packages along. Run lengths are left to pycocotools, crossing polygons to shapely.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.data.annotations import Annotation, LabelError, classes_of, one_label

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separators

Read = Callable[[Annotation], str]  # Task.label_of: the text of the label; raises LabelError
Objection = tuple[str, str]  # reason, one word; detail


class SourceError(ValueError):
    """The path holds no images in a layout that is known here; the message says what was found and expected."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file and what its source says about it. Texts are printable UTF-8, whatever the file is called."""

    path: Path
    name: str  # relative to the source
    label: str | None  # None: the source says nothing that can be used, and ingest puts the file aside
    split: str | None = None  # train, val, test, or None where the source leaves it open
    origin: str = "source"  # "feedback": a person's verdict, which outranks folders and tables; "synthetic"
    author: str = ""
    said_by: str = ""  # what said the label: a file in its folder, a line of a table, a request
    objection: Objection | None = None  # why there is no label
    size: tuple[int, int] | None = None  # width and height of the picture, px, that the label is made for
    shows: tuple[str, ...] = ()  # the classes that the source names, also those of a label that is refused
    place: str = ""  # what a user calls the file where `path` is a copy of it


class Source(Protocol):
    def files(self) -> Iterator[Found]:
        """Every file, in the same order each time; raise SourceError when the source cannot be read or is empty."""
        ...


def open_source(
    path: Path | str,
    read: Read = one_label,
    format: str | None = None,  # noqa: A002 - as on the command line
    cache: Path | None = None,
) -> Source:
    """The source at `path`, recognised by looking at it, or of the `format` that is named.

    `path` may be `s3://bucket/prefix`. Archives and buckets are copied into the folder `cache`, which must outlast
    the use of the files. Raises SourceError when there is no such source.
    """
    from components.data.sources.recognition import recognised

    return recognised(path, read, format, cache)


def heard(
    path: Path, name: str, said: Annotation | LabelError, read: Read, said_by: str, split: str | None = None
) -> Found:
    """`path` with the label that `read` makes of what is `said`, or with the objection to it."""
    name, said_by = printable(name), printable(said_by)
    if isinstance(said, LabelError):
        return Found(path, name, None, split, said_by=said_by, objection=_objection(said, said_by), shows=said.shows)
    try:
        label, objection = read(said), None
    except LabelError as error:
        label, objection = None, _objection(error, said_by)
    return Found(path, name, label, split, said_by=said_by, objection=objection, size=said.size, shows=classes_of(said))


def takes(read: Read, said: Annotation) -> bool:
    """Whether the task can make a label of an annotation like this one."""
    try:
        read(said)
    except LabelError:
        return False
    return True


def printable(text: str) -> str:
    """`text` on one line and in UTF-8: control characters and bytes of no known encoding are written as escapes."""
    if text.isprintable():
        return text
    escaped = (repr(each)[1:-1] if unicodedata.category(each) in UNPRINTABLE else each for each in text)
    return "".join(escaped)


def clean_label(text: str) -> str:
    """A label as it is compared and stored: printable, composed (NFC), without blanks around it."""
    return unicodedata.normalize("NFC", printable(text)).strip()


def _objection(error: LabelError, said_by: str) -> Objection:
    return error.code, f"{said_by}: {printable(error.detail)}"
