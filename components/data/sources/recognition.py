"""Which layout a path has: by its name, by the files in it, or as the user names it.

In: a path, an address or the name of a layout. Out: the `Source` that reads it, or a SourceError that says what was
found and expected. Where several layouts fit, the one whose annotations the task takes is meant; where that leaves more
than one, nothing is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from components.data.annotations import Annotation, Box, Thing
from components.data.sources import Read, Source, SourceError, printable, takes
from components.data.sources.archive import ArchiveSource, is_archive
from components.data.sources.bucket import BucketSource
from components.data.sources.class_names import YAMLS, yaml_in
from components.data.sources.coco import CocoSource
from components.data.sources.folders import FolderSource
from components.data.sources.inbox import InboxSource
from components.data.sources.json_files import kind_of
from components.data.sources.label_studio import LabelStudioSource
from components.data.sources.listing import entries, is_picture, split_in
from components.data.sources.masks import IMAGES, MASKS, MaskSource
from components.data.sources.table_rows import TABLES, header_of
from components.data.sources.tabular import TableSource
from components.data.sources.voc import VocSource
from components.data.sources.yolo import YoloSource

EXPECTED = (
    "expected a folder with a folder of images for each label, a table (.csv, .tsv, .parquet) with the columns path "
    "and label, COCO or Label Studio JSON, Pascal VOC XML, YOLO txt, images/ beside masks/, a .zip or .tar of one of "
    "these, or s3://bucket/prefix"
)
DESCRIPTIONS = ("annotations", "Annotations", "xml", "labels")  # folders that hold them, alone or in those of splits
KNOWN = frozenset({*DESCRIPTIONS, *IMAGES, *MASKS})
LOOKED_AT = 50  # files of a folder
HEAD = 4096  # bytes of a file
GIVES: Mapping[str, Annotation] = {  # the most that each layout says of an image
    "coco": Annotation(labels=("a",), things=(Thing("a", Box(0, 0, 1, 1), "01"),), size=(1, 1)),
    "labelstudio": Annotation(labels=("a",), things=(Thing("a", Box(0, 0, 1, 1), "01"),), size=(1, 1)),
    "yolo": Annotation(labels=("a",), things=(Thing("a", Box(0, 0, 1, 1)),)),
    "voc": Annotation(labels=("a",), things=(Thing("a", Box(0, 0, 1, 1)),)),
    "masks": Annotation(labels=("a",), areas={"a": "01"}, size=(1, 1)),
}
Opened = Source | None


def recognised(path: Path | str, read: Read, name: str | None, cache: Path | None) -> Source:
    """See `open_source`."""
    if name is not None and name not in NAMES:
        raise SourceError(f"No format is called {name!r}; expected one of {', '.join(NAMES)}.")
    address, inside = str(path), None if name in CONTAINERS else name
    if address.startswith("s3:/"):
        return BucketSource("s3://" + address[3:].lstrip("/"), read, inside, _cache(cache))
    place = Path(os.path.realpath(path))  # Path.resolve raises on a link to itself
    if place.is_file() and is_archive(place):
        return ArchiveSource(place, read, inside, _cache(cache))
    if place.is_dir() and name == "inbox":
        return InboxSource(place, read, _cache(cache))
    found = None
    if place.is_dir() or place.is_file():
        found = _forced(place, read, name) if name else _likely(place, read)
    if found is None:
        wanted = f"--format {name} {NEEDS[name]}" if name else EXPECTED
        raise SourceError(f"{printable(address)}: found {_contents(place)}; {wanted}.")
    return found


def _likely(place: Path, read: Read) -> Opened:
    """The one layout that fits; a folder for each label where no other does."""
    found = {name: source for name, look in LOOKS.items() if (source := look(place, read))}
    if "table" in found:  # whoever writes one for these images means it
        return found["table"]
    if len(found) > 1:
        found = {name: found[name] for name in found if name in GIVES and takes(read, GIVES[name])} or found
    if len(found) > 1:
        raise SourceError(
            f"{printable(str(place))} may be {' or '.join(found)}; say which with --format. Nothing was added."
        )
    return next(iter(found.values()), FolderSource(place, read) if place.is_dir() else None)


def _forced(place: Path, read: Read, name: str) -> Opened:
    """The layout that is called `name`, whatever the files look like."""
    sources: Mapping[str, Callable[[Path, Read], Source]] = {
        "folder": FolderSource,
        "voc": VocSource,
        "yolo": YoloSource,
        "masks": MaskSource,
    }
    if place.is_dir() and name in sources:
        return sources[name](place, read)
    if place.is_file():
        files: Mapping[str, Source] = {
            "table": TableSource(place, read),
            "coco": CocoSource((place,), _pictures_of(place), read, whole=False),
            "labelstudio": LabelStudioSource(place, _pictures_of(place), read),
            "yolo": YoloSource(place.parent, read, place),
        }
        return files.get(name)
    return LOOKS[name](place, read) if name in LOOKS else None


def _coco(place: Path, read: Read) -> Opened:
    lists = [path for path in _files(place, ".json") if kind_of(path) == "coco"]
    if len(lists) > 1:  # beside instances_train.json there may be captions_train.json, of the same images
        lists = [path for path in lists if "instances" in path.name] or lists
    return CocoSource(tuple(lists), _pictures_of(place), read, whole=place.is_dir()) if lists else None


def _label_studio(place: Path, read: Read) -> Opened:
    lists = [path for path in _files(place, ".json") if kind_of(path) == "labelstudio"]
    return LabelStudioSource(lists[0], _pictures_of(place), read) if len(lists) == 1 else None


def _voc(place: Path, read: Read) -> Opened:
    described = (path for path in _files(place, ".xml") if b"<annotation" in _head(path))
    return VocSource(place, read) if place.is_dir() and any(described) else None


def _yolo(place: Path, read: Read) -> Opened:
    if place.is_file():
        named = place.suffix.lower() in {".yaml", ".yml"} and "names" in yaml_in(place)
        return YoloSource(place.parent, read, place) if named else None
    if any((place / name).is_file() and "names" in yaml_in(place / name) for name in YAMLS):
        return YoloSource(place, read)
    texts = (
        path for folder in _folders(place, ("labels",)) for path in _inside(folder) if path.suffix.lower() == ".txt"
    )
    return YoloSource(place, read) if any(texts) else None


def _masks(place: Path, read: Read) -> Opened:
    if not place.is_dir() or not any(_folders(place, IMAGES)):
        return None
    masks = (path for folder in _folders(place, MASKS) for path in _inside(folder) if is_picture(path.name))
    return MaskSource(place, read) if any(masks) else None


def _table(place: Path, read: Read) -> Opened:
    if place.is_file():
        return TableSource(place, read) if place.suffix.lower() in TABLES else None
    tables = [path for path in _inside(place) if path.suffix.lower() in TABLES] if place.is_dir() else []
    fitting = [path for path in tables if "path" in (header := header_of(path)) and {"label", "annotation"} & {*header}]
    return TableSource(fitting[0], read) if len(fitting) == 1 else None


LOOKS: Mapping[str, Callable[[Path, Read], Opened]] = {
    "coco": _coco,
    "labelstudio": _label_studio,
    "voc": _voc,
    "yolo": _yolo,
    "masks": _masks,
    "table": _table,
}
NEEDS = {
    "folder": "needs a folder with a folder of images for each label",
    "table": "needs a .csv, .tsv or .parquet file with the columns path and label or annotation",
    "coco": "needs a JSON file with images, annotations and categories, or a folder of such files and pictures",
    "labelstudio": "needs Label Studio's JSON export, or a folder with it and the pictures",
    "voc": "needs a folder with Pascal VOC's .xml files",
    "yolo": "needs a data.yaml or the folder of images/ and labels/",
    "masks": "needs a folder with images/ and masks/",
    "archive": "needs a .zip or .tar file",
    "inbox": "needs a folder",
    "s3": "needs an address such as s3://bucket/prefix",
}
NAMES = tuple(NEEDS)
CONTAINERS = ("archive", "inbox", "s3")


def _cache(cache: Path | None) -> Path:
    if cache is None:
        raise SourceError("Archives, buckets and inboxes need a folder for copies; none was given.")
    return cache


def _files(place: Path, suffix: str) -> Iterator[Path]:
    """`place` itself, or the files of this kind in it and in the folders that hold descriptions."""
    if place.is_file():
        yield from [place] if place.suffix.lower() == suffix else []
        return
    for folder in [place, *_folders(place)] if place.is_dir() else []:
        yield from [path for path in _inside(folder) if path.suffix.lower() == suffix][:LOOKED_AT]


def _folders(place: Path, called: Collection[str] = KNOWN) -> Iterator[Path]:
    """Folders in `place` that are called so, alone or together with a split: labels, labels/train, train/labels."""
    for entry in entries(place)[0]:
        outer = Path(entry.path)
        if entry.name not in KNOWN and not split_in([entry.name]):
            continue
        if entry.name in called or called is KNOWN:
            yield outer
        for deeper in entries(outer)[0]:
            inner = deeper.name in called or (entry.name in called and split_in([deeper.name]))
            if inner and (entry.name in called or split_in([entry.name])):
                yield Path(deeper.path)


def _inside(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(folder)[1]]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD).replace(b"\0", b"")  # of UTF-16 too
    except OSError:
        return b""


def _pictures_of(place: Path) -> Path:
    """The folder of the pictures that a file of annotations, or the folder of several, speaks of."""
    if place.is_dir():
        return place
    return place.parent.parent if place.parent.name.lower() in DESCRIPTIONS else place.parent


def _contents(place: Path) -> str:
    if place.is_dir():
        folders, files = entries(place)
        names = [f"{each.name}/" for each in folders[:5]] + [each.name for each in files[:5]]
        return f"a folder with {', '.join(map(printable, names)) or 'nothing in it'}"
    return f"a {place.suffix or 'plain'} file" if place.is_file() else "nothing that can be read"
