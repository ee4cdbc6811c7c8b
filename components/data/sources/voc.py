"""Pascal VOC XML (Everingham et al. 2010): one file for each image, with the boxes of its objects.

In: a folder with XML files. Out: a `Found` for each of them and for each picture that has none; splits from ImageSets/
or from folders named train, val and test. Edges are taken as they stand (0 is the outer edge of the first pixel). An
object that is marked difficult is a crowd: neither a hit nor a miss. One without a box says that the image shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from components.data.annotations import Annotation, Box, LabelError, Thing, checked_thing
from components.data.sources import Found, Read, SourceError, clean_label, heard, printable
from components.data.sources.listing import Pictures, files_below, known_size, lists_of_splits, split_in

EDGES = ("xmin", "ymin", "xmax", "ymax")
LINE = "line"  # attribute that keeps where an element began
MOST_BYTES = 50_000_000  # of one XML file


class Described(NamedTuple):
    """What one file says, and what it calls its picture (empty where it does not)."""

    said: Annotation
    filename: str


@dataclass(frozen=True)
class VocSource:
    root: Path
    read: Read

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        start, empty, named = len(str(self.root)) + 1, True, set()
        for entry in files_below(self.root):
            if entry.name.lower().endswith(".xml"):
                found = self._found(entry.path[start:])
                named.add(found.path)
                empty = False
                yield found
        if empty:
            raise SourceError(f"{printable(str(self.root))}: found no .xml file, expected Pascal VOC's annotations.")
        for name in self._pictures.names:
            if (path := self.root / name) not in named:
                error = LabelError("no_label", "no .xml file describes it")
                yield heard(path, name, error, self.read, name)

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self.root)

    @cached_property
    def _splits(self) -> Mapping[str, str]:
        return lists_of_splits(self.root)

    def _found(self, name: str) -> Found:
        stem, folder = PurePath(name).stem, str(PurePath(name).parent)
        split = self._splits.get(stem) or split_in(PurePath(folder).parts)
        path = None
        said: Annotation | LabelError
        try:
            said, filename = described_in(self.root / name)
            path = self._picture(filename, stem, folder, split)
            said = with_size(said, path) if path else said
        except LabelError as error:
            said = error
            path = path or self._picture("", stem, folder, split)
        shown = str(path.relative_to(self.root)) if path else f"{stem}.*"
        path = path or Path(f"{self.root / name}#picture")  # exists nowhere
        return heard(path, shown, said, self.read, f"{self.root.name}/{name}", split)

    def _picture(self, filename: str, stem: str, folder: str, split: str | None) -> Path | None:
        """By the name in the file, which may lack its suffix, else by the name of the file."""
        by_name, by_stem = self._pictures.find, self._pictures.find_stem
        named = (by_name(filename, folder, split) or by_stem(filename, folder, split)) if filename else None
        return named or by_stem(stem, folder, split)


def described_in(path: Path) -> Described:
    """Read one file; raise LabelError with line and field of the first thing that is wrong."""
    root = _parsed(path)
    if root.tag != "annotation":
        raise LabelError("bad_xml", f"line 1: found <{printable(root.tag)}>, expected <annotation>")
    size = _size(root.find("size"))
    rows = root.findall("object")
    try:
        found = [(_name(each), _thing(each, size)) for each in rows]
    except LabelError as error:
        names = (clean_label(each.findtext("name") or "") for each in rows)
        raise LabelError(error.code, error.detail, filter(None, names)) from None
    labels = tuple(sorted({name for name, _ in found}))
    only_named = any(thing is None for _, thing in found)
    things = None if only_named else tuple(thing for _, thing in found if thing)
    return Described(Annotation(labels, things, size=size), (root.findtext("filename") or "").strip())


def with_size(said: Annotation, picture: Path) -> Annotation:
    """`said` with the size of the picture, where it gives none itself."""
    return said if said.size else Annotation(said.labels, said.things, said.areas, known_size(picture))


def _parsed(path: Path) -> Element:
    """The root element; each has the line where it began as an attribute. Entities are refused: they can explode."""
    parser, builder = expat.ParserCreate(), TreeBuilder()
    parser.StartElementHandler = lambda tag, _: builder.start(tag, {LINE: str(parser.CurrentLineNumber)})
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LabelError("bad_xml", f"{path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read")
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise LabelError("bad_xml", f"cannot be read: {error.strerror}") from None
    except expat.ExpatError as error:
        raise LabelError("bad_xml", f"line {error.lineno}, column {error.offset}: {error}") from None
    root: Element = builder.close()
    return root


def _refuse_entity(name: str, *_: object) -> None:
    raise LabelError("bad_xml", f"declares the entity {printable(name)}; expected plain XML")


def _name(row: Element) -> str:
    name = clean_label(row.findtext("name") or "")
    if not name:
        raise LabelError("bad_label", f"line {row.get(LINE)}, field name: empty")
    return name


def _thing(row: Element, size: tuple[int, int] | None) -> Thing | None:
    box = row.find("bndbox")
    if box is None:
        return None
    edges = Box(*(_number(box, name) for name in EDGES))
    try:
        return checked_thing(Thing(_name(row), edges, crowd=(row.findtext("difficult") or "").strip() == "1"), size)
    except LabelError as error:
        raise LabelError(error.code, f"line {box.get(LINE)}, field bndbox: {error.detail}") from None


def _number(row: Element, name: str) -> float:
    found = row.find(name)
    text = (found.text or "").strip() if found is not None else "nothing"
    try:
        return float(text)
    except ValueError:
        line = row.get(LINE) if found is None else found.get(LINE)
        raise LabelError("bad_box", f"line {line}, field {name}: found {text[:40]!r}, expected a number") from None


def _size(row: Element | None) -> tuple[int, int] | None:
    """Many tools leave it out or write zeros."""
    try:
        width, height = (
            (int(float(row.findtext(name) or 0)) for name in ("width", "height")) if row is not None else (0, 0)
        )
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
