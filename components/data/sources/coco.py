"""COCO JSON (Lin et al. 2014): boxes, polygons and run lengths of the objects in each image.

In: one JSON file or several, and the folder of their pictures. Out: a `Found` for each image of the lists, also for
those without annotations, which show the background; an objection for each whose annotations are not unmistakable;
a missing file for each annotation of no image. An annotation with neither box nor outline says that the image shows
the class; a class called "ignore", "void" or "-..." marks pixels that are not judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from components.data.annotations import Annotation, Box, LabelError, Thing, checked_thing, is_ignored
from components.data.outlines import areas_of, box_of, drawn, repeated
from components.data.sources import SPLITS, Found, Read, SourceError, clean_label, heard, printable
from components.data.sources.json_files import COCO_KEYS, content_of, field, four_numbers
from components.data.sources.listing import Pictures, known_size, split_in, split_in_stem

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CocoSource:
    lists: tuple[Path, ...]
    root: Path  # of the pictures
    read: Read
    whole: bool  # whether pictures that no list names are told too

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        pictures = Pictures(self.root)
        named: set[Path] = set()
        for path in self.lists:
            for found in _List(path, pictures, self.read).files():
                named.add(found.path)
                yield found
        for name in pictures.names if self.whole else ():
            if (path := self.root / name) not in named:
                unlisted = LabelError("no_label", f"no image of {', '.join(each.name for each in self.lists)}")
                yield heard(path, name, unlisted, self.read, name)


@dataclass(frozen=True)
class _List:
    path: Path
    pictures: Pictures
    read: Read

    def files(self) -> Iterator[Found]:
        """The images in the order of the list, then the annotations of none."""
        if not self._rows["images"] and not self._rows["annotations"]:
            raise SourceError(f"{printable(str(self.path))} lists no images; expected some under the key images.")
        for place, row in enumerate(self._rows["images"]):
            yield self._image(place, row)
        for key, rows in self._of_image.items():
            for place, row in rows if key not in self._image_ids else ():
                error = LabelError("missing", f"field image_id: no image has the id {key}")
                where = f"annotations[{place}] (id {row.get('id')})"
                yield heard(self._nowhere(where), where, error, self.read, f"{self.path.name}, {where}")

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        content = content_of(self.path)
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
            raise SourceError(
                f"{printable(str(self.path))}: found {found}; expected COCO, a JSON object with the keys "
                f"{', '.join(COCO_KEYS)}. Nothing was added."
            )
        lists = {key: content[key] if isinstance(content.get(key), list) else [] for key in COCO_KEYS}
        return {key: [row if isinstance(row, dict) else {} for row in rows] for key, rows in lists.items()}

    @cached_property
    def _image_ids(self) -> Counter[str]:
        return Counter(str(row.get("id")) for row in self._rows["images"])

    @cached_property
    def _names(self) -> Counter[str]:
        return Counter(str(row.get("file_name")) for row in self._rows["images"])

    @cached_property
    def _annotation_ids(self) -> Counter[str]:
        return Counter(str(row["id"]) for row in self._rows["annotations"] if row.get("id") is not None)

    @cached_property
    def _of_image(self) -> Mapping[str, Sequence[tuple[int, Row]]]:
        """Annotations with their places in the list, by the id of their image."""
        found = defaultdict(list)
        for place, row in enumerate(self._rows["annotations"]):
            found["none" if row.get("image_id") is None else str(row["image_id"])].append((place, row))
        return dict(found)

    @cached_property
    def _classes(self) -> Mapping[str, str]:
        """Names of the categories, by id; an empty one where it is not known which is meant."""
        rows = [(str(row.get("id")), clean_label(str(row.get("name") or ""))) for row in self._rows["categories"]]
        ids, names = Counter(key for key, _ in rows), Counter(name for _, name in rows)
        return {key: name if ids[key] == names[name] == 1 else "" for key, name in rows}

    @cached_property
    def _split(self) -> str | None:
        return split_in_stem(self.path.stem) or split_in(self.path.parts[len(self.pictures.root.parts) : -1])

    def _image(self, place: int, row: Row) -> Found:
        where, picture = f"images[{place}] (id {row.get('id')})", None
        rows = self._of_image.get(str(row.get("id")), ())
        said: Annotation | LabelError
        try:
            name = field(row, "file_name", _text, "the name of a picture")
            picture = self._picture(name)
            self._refuse_double(row, name)
            said = self._said(row, picture, rows)
        except LabelError as error:
            said = error
        called = str(row.get("file_name") or where)
        inside = picture.relative_to(self.pictures.root) if picture else None
        split = (
            SPLITS.get(str(row.get("split")).lower()) or self._split or split_in(inside.parts[:-1] if inside else ())
        )
        path, name = picture or self._nowhere(called), str(inside or called)
        found = heard(path, name, said, self.read, f"{self.path.name}, {where}", split)
        shows = {self._classes.get(str(each.get("category_id")), "") for _, each in rows}
        return replace(found, shows=tuple(sorted(name for name in shows if name and not is_ignored(name))))

    def _picture(self, name: str) -> Path | None:
        inside = self.path.parent.is_relative_to(self.pictures.root)
        near = str(self.path.parent.relative_to(self.pictures.root)) if inside else ""
        return self.pictures.find(name, near, self._split)

    def _nowhere(self, name: str) -> Path:
        """A path that does not exist, one for each name."""
        return Path(f"{self.path}#{printable(name)}")

    def _refuse_double(self, row: Row, name: str) -> None:
        if row.get("id") is None:
            raise LabelError("bad_label", "field id: missing; expected a number, by which annotations name the image")
        if self._image_ids[str(row.get("id"))] > 1:
            raise LabelError("duplicate_id", f"field id: {row.get('id')} is the id of several images")
        if self._names[name] > 1:
            raise LabelError("duplicate_id", f"field file_name: {name} is listed several times")

    def _said(self, row: Row, picture: Path | None, rows: Sequence[tuple[int, Row]]) -> Annotation:
        size = _declared(row) or (known_size(picture) if picture else None)
        things = [self._thing(place, each, size) for place, each in rows]
        judged = [(label, thing) for label, thing in things if not thing or not is_ignored(label)]
        only_named = any(thing is None for _, thing in judged)
        drawn_over = size and len(judged) < len(things) and all(thing and thing.mask for _, thing in things)
        return Annotation(
            labels=tuple(sorted({label for label, _ in judged})),
            things=None if only_named else tuple(thing for _, thing in judged if thing),
            areas=areas_of([thing for _, thing in things if thing], size) if size and drawn_over else None,
            size=size,
        )

    def _thing(self, place: int, row: Row, size: tuple[int, int] | None) -> tuple[str, Thing | None]:
        """The class, and the object where more than its presence is told."""
        try:
            if self._annotation_ids[str(row.get("id"))] > 1:
                raise LabelError("duplicate_id", "field id: there are several annotations with this id")
            label = self._class(row)
            mask = _mask(row, size)
            if row.get("bbox") is None and not mask:
                return label, None
            thing = Thing(label, _box(row, mask, size), mask, crowd=bool(row.get("iscrowd")))
            return label, checked_thing(thing, size)
        except LabelError as error:
            where = f"annotations[{place}] (id {row.get('id')})"
            raise LabelError(error.code, f"{where}, {error.detail}") from None

    def _class(self, row: Row) -> str:
        key = str(row.get("category_id"))
        if key not in self._classes:
            known = ", ".join(list(self._classes)[:10]) or "none at all"
            raise LabelError("bad_category", f"field category_id: found {key}, but the categories are {known}")
        if not self._classes[key]:
            doubt = "is there twice, shares its name with another, or has none"
            raise LabelError("bad_category", f"field category_id: category {key} {doubt}")
        return self._classes[key]


def _declared(row: Row) -> tuple[int, int] | None:
    if not row.get("width") or not row.get("height"):
        return None
    return field(row, "width", _count, "px"), field(row, "height", _count, "px")


def _mask(row: Row, size: tuple[int, int] | None) -> str:
    """Run lengths, or an empty text where there is no outline."""
    found = row.get("segmentation")
    if not found:
        return ""
    if size is None:
        raise LabelError("no_size", "field segmentation: the size of the image is not known; expected width and height")
    try:
        return drawn(found, size) if isinstance(found, list) else repeated(found, size)
    except LabelError as error:
        raise LabelError(error.code, f"field segmentation: {error.detail}") from None


def _box(row: Row, mask: str, size: tuple[int, int] | None) -> Box:
    if row.get("bbox") is None and size is not None:
        return box_of(mask, size)
    left, top, width, height = field(row, "bbox", four_numbers, "[left, top, width, height] in px")
    return Box(left, top, left + width, top + height)


def _text(found: object) -> str:
    if not isinstance(found, str) or not found.strip("./") or "\0" in found:
        raise ValueError
    return found


def _count(found: Any) -> int:
    if int(found) != found or found <= 0:
        raise ValueError
    return int(found)
