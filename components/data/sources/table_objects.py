"""Rows of a table that give more than a label: boxes of objects, or the file that describes the image.

In: the rows of one image. Out: its objects, or what its annotation file says; a LabelError names line and field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.data.annotations import Annotation, Box, LabelError, Thing, checked_thing, mask_of
from components.data.outlines import Size
from components.data.sources import clean_label, masks, voc, yolo
from components.data.sources.class_names import ClassNames, class_names
from components.data.sources.listing import is_picture, known_size, picture_size

EDGES = ("left", "top", "right", "bottom")
OTHER_NAMES = {
    **dict(zip(("xmin", "ymin", "xmax", "ymax"), EDGES, strict=True)),
    **dict(zip(("x1", "y1", "x2", "y2"), EDGES, strict=True)),
}
TRUE = frozenset({"1", "true", "yes"})
Row = Mapping[str, str]


def objects_in(rows: Sequence[tuple[int, Row]], picture: Path) -> tuple[tuple[Thing, ...] | None, Size | None]:
    """The objects of an image and its size; None where a row has a label and no box. A row of neither adds nothing."""
    masked = any(row.get("mask") for _, row in rows)
    size = picture_size(picture) if masked else known_size(picture)
    named = [(line, row) for line, row in rows if row["label"]]
    if any(not any(row[edge] for edge in EDGES) for _, row in named):
        return None, size
    try:
        return tuple(_object(line, row, size) for line, row in named), size
    except LabelError as error:
        raise LabelError(error.code, error.detail, (clean_label(row["label"]) for _, row in named)) from None


def annotated_in(names: Sequence[str], folder: Path, picture: Path) -> Annotation:
    """What the file says that the cell `annotation` names, a path relative to the `folder` of the table."""
    if len(names) > 1:
        raise LabelError("bad_label", f"field annotation: found {len(names)} rows for one path, expected one")
    path = folder / names[0].replace("\0", "")
    if not path.is_file():
        raise LabelError("missing", f"field annotation: there is no file {names[0]}")
    try:
        return _described(path, folder, picture)
    except LabelError as error:
        raise LabelError(error.code, f"{names[0]}, {error.detail}", error.shows) from None


def _described(path: Path, folder: Path, picture: Path) -> Annotation:
    if path.suffix.lower() == ".xml":
        return voc.with_size(voc.described_in(path).said, picture)
    found = (class_names(place) for place in (folder, path.parent, path.parent.parent))
    classes = next((each for each in found if each.path), ClassNames())
    if path.suffix.lower() == ".txt":
        return yolo.said_in(path, classes, picture)
    if is_picture(path.name):
        return masks.said_in(path, classes)
    raise LabelError("bad_label", "expected the name of a VOC .xml, a YOLO .txt or a mask .png")


def _object(line: int, row: Row, size: Size | None) -> Thing:
    try:
        label, mask = clean_label(row["label"]), row.get("mask", "")
        if mask and size:
            mask_of(mask, size)
        box = Box(*(_number(row, edge) for edge in EDGES))
        return checked_thing(Thing(label, box, mask, row.get("crowd", "").lower() in TRUE), size)
    except LabelError as error:
        raise LabelError(error.code, f"line {line}, {error.detail}") from None


def _number(row: Row, name: str) -> float:
    try:
        return float(row[name] or math.nan)
    except ValueError:
        raise LabelError("bad_box", f"field {name}: found {row[name][:40]!r}, expected a number") from None
