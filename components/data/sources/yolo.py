"""YOLO txt: beside each picture a text file with a line for each object, its places in shares of the picture.

In: a folder with labels/ beside images/ (or the .txt beside the picture), and data.yaml or classes.txt. Out: a `Found`
for each picture, also for those without a file of labels, which show the background; a missing picture for each file
without one. A line is `class x y width height`, or `class x y x y x y ...`, an outline; `class` alone says that the
picture shows it. Splits come from data.yaml, or from folders named train, val and test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from components.data.annotations import Annotation, Box, LabelError, Thing, checked_thing
from components.data.outlines import Size, drawn
from components.data.sources import Found, Read, SourceError, heard, printable
from components.data.sources.class_names import TABLES, ClassNames, class_names, names_in
from components.data.sources.listing import files_below, is_picture, known_size, picture_size, split_in
from components.data.sources.yolo_splits import yolo_splits

IMAGES, LABELS = "images", "labels"  # folders that mirror each other


@dataclass(frozen=True)
class YoloSource:
    root: Path
    read: Read
    described_by: Path | None = None  # a data.yaml

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        pictures = [name for name in self._names if is_picture(name)]
        if not pictures:
            raise SourceError(f"{printable(str(self.root))}: found no pictures, expected images/ beside labels/.")
        texts = {name for name in self._names if _is_text(name)}
        used: set[str] = set()
        for name in pictures:
            labels = next((each for each in places_of_labels(name) if each in texts), None)
            used.add(labels or "")
            yield self._found(name, labels)
        for name in sorted(texts - used):
            if LABELS in name.split("/")[:-1]:
                error = LabelError("missing", "there is no picture of this name")
                path, said_by = Path(f"{self.root / name}#picture"), f"{self.root.name}/{name}"
                yield heard(path, f"picture of {name}", error, self.read, said_by)

    @cached_property
    def _names(self) -> list[str]:
        start = len(str(self.root)) + 1
        return [entry.path[start:] for entry in files_below(self.root)]

    @cached_property
    def _classes(self) -> ClassNames:
        if self.described_by:
            return names_in(self.described_by)
        found = (class_names(folder) for folder in (self.root, self.root / LABELS, self.root / LABELS / "train"))
        return next((each for each in found if each.path), ClassNames())

    @cached_property
    def _splits(self) -> dict[str, str]:
        described_by = self.described_by or self._classes.path
        return yolo_splits(self.root, described_by) if described_by else {}

    def _found(self, name: str, labels: str | None) -> Found:
        path = self.root / name
        said: Annotation | LabelError
        try:
            said = said_in(self.root / labels, self._classes, path) if labels else _background(path)
        except LabelError as error:
            said = error
        parents = [name, *map(str, Path(name).parents)]
        split = next((self._splits[each] for each in parents if each in self._splits), None)
        said_by = f"{self.root.name}/{labels or name}"
        return heard(path, name, said, self.read, said_by, split or split_in(Path(name).parts[:-1]))


def places_of_labels(picture: str) -> list[str]:
    """Where the labels of a picture (a path relative to the root) may be: in labels/ for images/, or beside it."""
    beside = str(PurePath(picture).with_suffix(".txt"))
    parts = beside.split("/")
    mirrored = len(parts) - 1 - parts[::-1].index(IMAGES) if IMAGES in parts[:-1] else None
    return [beside] if mirrored is None else ["/".join([*parts[:mirrored], LABELS, *parts[mirrored + 1 :]]), beside]


def said_in(path: Path, classes: ClassNames, picture: Path) -> Annotation:
    """Read one file of labels; raise LabelError with line and field of the first thing that is wrong."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError("bad_label", f"cannot be read: {error}") from None
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    placed = any(len(cells) > 1 for _, cells in rows)
    size = picture_size(picture) if placed else known_size(picture)
    try:
        found = [_row(number, cells, classes, size) for number, cells in rows]
    except LabelError as error:
        names = (classes.name(int(cells[0])) for _, cells in rows if cells[0].isdecimal())
        raise LabelError(error.code, error.detail, filter(None, names)) from None
    only_named = any(thing is None for _, thing in found)
    things = None if only_named else tuple(thing for _, thing in found if thing)
    return Annotation(tuple(sorted({label for label, _ in found})), things, size=size)


def _background(picture: Path) -> Annotation:
    return Annotation(labels=(), things=(), size=known_size(picture))


def _row(line: int, cells: Sequence[str], classes: ClassNames, size: Size | None) -> tuple[str, Thing | None]:
    try:
        label = _label(cells[0], classes)
        places = _numbers(cells[1:])
        if not places or size is None:
            return label, None
        return label, checked_thing(
            _outlined(label, places, size) if len(places) > 4 else _boxed(label, places, size), size
        )
    except LabelError as error:
        raise LabelError(error.code, f"line {line}, {error.detail}") from None


def _label(text: str, classes: ClassNames) -> str:
    try:
        name = classes.name(int(text))
    except ValueError:
        name = None
    if name is None:
        raise LabelError("bad_category", f"field class: found {text[:40]!r}, expected a number of {classes}")
    return name


def _numbers(cells: Sequence[str]) -> list[float]:
    try:
        found = [float(cell) for cell in cells]
    except ValueError:
        raise LabelError("bad_box", f"found {' '.join(cells)[:60]!r}, expected numbers") from None
    if len(found) not in {0, 4} and (len(found) < 6 or len(found) % 2):
        expected = "4 (x y width height), or x and y of 3 corners or more"
        raise LabelError("bad_box", f"found {len(found)} numbers behind the class, expected {expected}")
    return found


def _boxed(label: str, places: Sequence[float], size: Size) -> Thing:
    x, y, width, height = (place * side for place, side in zip(places, size * 2, strict=True))
    return Thing(label, Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _outlined(label: str, places: Sequence[float], size: Size) -> Thing:
    xs, ys = [x * size[0] for x in places[::2]], [y * size[1] for y in places[1::2]]
    mask = drawn([[edge for corner in zip(xs, ys, strict=True) for edge in corner]], size)
    return Thing(label, Box(min(xs), min(ys), max(xs), max(ys)), mask)


def _is_text(name: str) -> bool:
    return name.lower().endswith(".txt") and PurePath(name).name.lower() not in TABLES
