"""Label Studio's JSON export: choices, rectangles, polygons and brush strokes of people on images.

In: the JSON file, and the folder of the pictures. Out: a `Found` for each annotation of each task; where several people
judged one image they may contradict each other, unless one is marked as ground truth. Places are percent of the image
there; brush strokes come as run lengths of their own kind (`brush_strokes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from components.data.annotations import Annotation, Box, LabelError, Thing, checked_thing, run_lengths
from components.data.outlines import Size, box_of, drawn
from components.data.sources import SPLITS, Found, Read, SourceError, clean_label, heard, printable
from components.data.sources.brush_strokes import brushed
from components.data.sources.json_files import content_of, field
from components.data.sources.listing import Pictures, is_picture, known_size, split_in

Row = Mapping[str, Any]
PLACED = ("rectanglelabels", "polygonlabels", "brushlabels")
UNUSED = frozenset({"textarea", "rating", "number", "datetime", "relation", "pairwise", "ranker"})


@dataclass(frozen=True)
class LabelStudioSource:
    path: Path
    root: Path  # of the pictures
    read: Read

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        tasks = content_of(self.path)
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
            found = "an empty list" if tasks == [] else type(tasks).__name__
            raise SourceError(f"{printable(str(self.path))}: found {found}, expected Label Studio's list of tasks.")
        pictures = Pictures(self.root)
        for place, task in enumerate(tasks):
            yield from self._task(place, task, pictures)

    def _task(self, place: int, task: Row, pictures: Pictures) -> Iterator[Found]:
        where = f"{self.path.name}, task {task.get('id', place)}"
        name, path = where, Path(f"{self.path}#{place}")
        try:
            name = _picture_name(task)
            path = _picture(name, pictures) or Path(f"{self.path}#{printable(name)}")
            rows = _standing(task)
        except LabelError as error:
            yield heard(path, name, error, self.read, where)
            return
        split = SPLITS.get(str(task["data"].get("split") or "").lower())
        if path.is_relative_to(self.root):
            name = str(path.relative_to(self.root))
            split = split or split_in(path.relative_to(self.root).parts[:-1])
        for row in rows:
            said_by = f"{where}, annotation {row.get('id')}"
            yield heard(path, name, _said(row, path), self.read, said_by, split)


def _picture_name(task: Row) -> str:
    data = task.get("data")
    texts = [each for each in data.values() if isinstance(each, str)] if isinstance(data, dict) else []
    named = [text for text in map(_file_of, texts) if is_picture(text)]
    if not named:
        raise LabelError("missing", f"field data: found {str(data)[:60]}, expected the address of a picture")
    return named[0]


def _file_of(address: str) -> str:
    """The path in an address such as s3://bucket/a.jpg, /data/upload/7/a.jpg or /data/local-files/?d=a.jpg."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d", [""])[0]
    return (local or unquote(parts.path)).replace("\0", "")


def _picture(name: str, pictures: Pictures) -> Path | None:
    """Uploads are renamed to <8 hex digits>-<name>."""
    folders, _, last = name.rpartition("/")
    plain = last.partition("-")[2] if len(last.partition("-")[0]) == 8 else ""
    return pictures.find(name) or (pictures.find(f"{folders}/{plain}") if plain else None)


def _standing(task: Row) -> Sequence[Row]:
    """The annotations that count: the ground truth, or all that were not cancelled."""
    found = task.get("annotations", task.get("completions"))
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    rows = [row for row in rows if not row.get("was_cancelled") and not row.get("skipped")]
    if not rows:
        raise LabelError("no_label", "field annotations: nobody has labelled it")
    return [row for row in rows if row.get("ground_truth")] or rows


def _said(row: Row, path: Path) -> Annotation | LabelError:
    result = row.get("result")
    results = [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []
    try:
        size = _size(results) or known_size(path)
        found = [each for place, row in enumerate(results) for each in _result(place, row, size)]
    except LabelError as error:
        return error
    only_named = any(thing is None for _, thing in found)
    things = None if only_named else tuple(thing for _, thing in found if thing)
    return Annotation(tuple(sorted({label for label, _ in found})), things, size=size)


def _size(results: Sequence[Row]) -> Size | None:
    sides = [(row.get("original_width"), row.get("original_height")) for row in results]
    sizes = {pair for pair in sides if all(type(side) is int and side > 0 for side in pair)}
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    return (width, height) if width and height else None


def _result(place: int, row: Row, size: Size | None) -> list[tuple[str, Thing | None]]:
    kind, value = str(row.get("type")), row.get("value")
    if kind in UNUSED or not isinstance(value, dict):
        return []
    try:
        if kind == "choices":
            return [(label, None) for label in _names(value, kind)]
        if kind not in PLACED:
            raise LabelError("bad_label", f"field type: found {kind!r}, expected choices, {', '.join(PLACED)}")
        if size is None:
            raise LabelError("no_size", "field original_width: missing; expected the size of the picture in px")
        labels = _names(value, kind)
        if len(labels) != 1:
            raise LabelError("bad_label", f"field {kind}: found {labels}, expected one label")
        return [(labels[0], checked_thing(_thing(kind, labels[0], value, size), size))]
    except LabelError as error:
        raise LabelError(error.code, f"result {row.get('id', place)}, {error.detail}") from None


def _names(value: Row, kind: str) -> list[str]:
    found = value.get(kind)
    names = [clean_label(each) if isinstance(each, str) else "" for each in found] if isinstance(found, list) else [""]
    if not all(names):
        raise LabelError("bad_label", f"field {kind}: found {str(found)[:60]}, expected a list of labels")
    return names


def _thing(kind: str, label: str, value: Row, size: Size) -> Thing:
    if kind == "rectanglelabels":
        return Thing(label, _box(value, size))
    if kind == "polygonlabels":
        mask = drawn([_corners(value.get("points"), size)], size)
    else:
        mask = run_lengths(brushed(value.get("rle"), size))
    return Thing(label, box_of(mask, size), mask)


def _box(value: Row, size: Size) -> Box:
    if value.get("rotation"):
        raise LabelError("bad_box", f"field rotation: found {value['rotation']}°, expected upright boxes")
    x, y, width, height = (field(value, name, float, "percent") for name in ("x", "y", "width", "height"))
    left, top = x / 100 * size[0], y / 100 * size[1]
    return Box(left, top, left + width / 100 * size[0], top + height / 100 * size[1])


def _corners(points: Any, size: Size) -> list[float]:
    try:
        return [float(place) / 100 * side for point in points for place, side in zip(point, size, strict=True)]
    except (TypeError, ValueError):
        raise LabelError("bad_polygon", f"field points: found {str(points)[:60]}, expected [x, y] in percent") from None
