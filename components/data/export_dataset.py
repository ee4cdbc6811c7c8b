"""One version of the dataset -> a folder of images and annotations that other tools read.

In: the tables of the version, the shards, and how the task reads labels. Out: the folder, whole or not at all, and how
many labels come back other than they were: the folder is read again, for not every format can hold everything. Images
without a label (in conflict, or of no version) are left out. Where old tables are found is left to the caller.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.data.annotations import Annotation, LabelError
from components.data.shards import ShardReader
from components.data.sources import Found, Read, SourceError, open_source, takes
from components.data.tables import LABELS, MANIFEST, SPLITS, empty_table, read_table, table_so_far
from components.data.writers import Contents, ExportError, Format, Item, annotation_of
from components.data.writers.coco import write_coco
from components.data.writers.table import write_table
from components.data.writers.voc import write_voc
from components.data.writers.yolo import write_yolo

WRITERS: Mapping[Format, Callable[[Path, Contents], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "csv": write_table,
}
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}
RESERVED = frozenset({"classes", "labels", "readme"})  # stems that stand for other files there
LONGEST_STEM = 100  # characters
SEVERAL = Annotation(labels=("one", "other"))
LEFT_OUT = "train"  # what becomes of images that left training: told so, they leave it again when they are ingested


@dataclass(frozen=True)
class Tables:
    """Those of one version; `splits` may not exist yet."""

    manifest: Path
    labels: Path
    splits: Path | None


@dataclass(frozen=True)
class Exported:
    """Counts; `altered` are images whose label or split is another when the folder is read again."""

    images: int
    unlabelled: int
    altered: int

    def __str__(self) -> str:
        missing = f", {self.unlabelled:,} without a label left out" if self.unlabelled else ""
        lost = f"{self.altered:,} of them lose what this format cannot hold (masks, crowds); coco and csv hold all"
        return f"{self.images:,} images{missing}; {lost if self.altered else 'read again, nothing has changed'}"


def export_dataset(
    tables: Tables, shards: Path, folder: Path, name: Format, read: Read, check: Callable[[str, tuple[int, int]], str]
) -> Exported:
    """Write the images that have a label into the new `folder`, as the format `name`; `read`, `check` are the task's.

    Raises ExportError when the folder holds something, when nothing has a label, or when the format cannot hold it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder} is not empty. Name a new folder, or empty this one.")
    rows, unlabelled = _rows(tables)
    if not rows:
        raise ExportError("No image of this version has a label. Run `visionloop ingest` first.")
    reader = ShardReader(shards)
    items = {row.name: _item(row, reader, read) for row in rows}
    half = folder.with_name(f".{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        WRITERS[name](half, Contents(list(items.values()), several=takes(read, SEVERAL)))
        altered = sum(not _comes_back(row, found, check) for row, found in _read_again(half, rows, read))
        half.replace(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Exported(len(items), unlabelled, altered)


@dataclass(frozen=True)
class _Row:
    image_id: str
    name: str
    label: str
    split: str | None
    size: tuple[int, int]
    shard: str
    row: int


def _rows(tables: Tables) -> tuple[list[_Row], int]:
    """The images with a label, by id, and the number of those without."""
    labels = read_table(tables.labels, LABELS)
    label = dict(zip(labels["image_id"].to_pylist(), labels["label"].to_pylist(), strict=True))
    splits = table_so_far(tables.splits, SPLITS) if tables.splits else empty_table(SPLITS)
    split = dict(zip(splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True))
    rows: list[_Row] = []
    names = set(RESERVED)
    images = read_table(tables.manifest, MANIFEST).sort_by("image_id").to_pylist()
    for image in images:
        if (image_id := image["image_id"]) in label:
            name = _name(image, names)
            names.add(Path(name).stem.lower())
            own = split.get(image_id, image["source_split"])
            size = (image["width"], image["height"])
            kept = LEFT_OUT if own == "left_out" else own
            rows.append(_Row(image_id, name, label[image_id], kept, size, image["shard"], image["row"]))
    return rows, len(images) - len(rows)


def _name(image: Mapping[str, Any], taken: Container[str]) -> str:
    """As the image was found, as far as every file system and format takes that."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(image["source_path"]).stem)[:LONGEST_STEM].strip("_-")
    if not stem or stem.lower() in taken:
        stem = f"{stem}-{image['image_id'][:12]}".lstrip("-")
    return stem + SUFFIXES[image["format"]]


def _item(row: _Row, reader: ShardReader, read: Read) -> Item:
    said = annotation_of(row.label, read, row.size)
    return Item(row.name, said, row.split, row.size, partial(reader.read, row.shard, row.row))


def _read_again(folder: Path, rows: Sequence[_Row], read: Read) -> Iterator[tuple[_Row, Found | None]]:
    try:
        found = {each.path.name: each for each in open_source(folder, read).files()}
    except SourceError as error:
        raise ExportError(f"What was written cannot be read again, and was removed: {error}") from None
    for row in rows:
        yield row, found.get(row.name)


def _comes_back(row: _Row, found: Found | None, check: Callable[[str, tuple[int, int]], str]) -> bool:
    try:
        return found is not None and found.split == row.split and check(found.label or "", row.size) == row.label
    except LabelError:
        return False
