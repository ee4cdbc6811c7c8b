"""The dataset as others read it: one module for each format, the counterpart of `components.data.sources`.

In: `Item`s, what is said of each image, and a folder. Out: images and annotations in the layout of the format. Which
images, and whether all comes back when the folder is read again, is left to `components.data.export_dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from components.data.annotations import (
    Annotation,
    Box,
    LabelError,
    areas_in,
    classes_of,
    labels_in,
    things_in,
)
from components.data.sources import Read

Format = Literal["coco", "voc", "yolo", "csv"]


class ExportError(ValueError):
    """The dataset cannot be written so; the message says why and what to do."""


@dataclass(frozen=True)
class Item:
    """One image: `name` is a file name that no other item shares, also without its suffix."""

    name: str
    said: Annotation
    split: str | None
    size: tuple[int, int]  # width and height, px
    read: Callable[[], bytes]  # the file

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Contents:
    """What is to be written."""

    items: Sequence[Item]
    several: bool  # whether the task takes several labels of one image

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """All that occur, sorted."""
        return tuple(sorted({name for item in self.items for name in classes_of(item.said)}))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The number of each class, from 0."""
        return {name: place for place, name in enumerate(self.classes)}

    @cached_property
    def drawn(self) -> bool:
        """Whether areas are known, and not objects or labels."""
        return any(item.said.areas is not None for item in self.items)

    @cached_property
    def by_split(self) -> dict[str | None, list[Item]]:
        found: dict[str | None, list[Item]] = {}
        for item in self.items:
            found.setdefault(item.split, []).append(item)
        return found


def annotation_of(label: str, read: Read, size: tuple[int, int]) -> Annotation:
    """What a source must say of an image of `size` for the task to read `label`; ExportError where nothing does."""
    for made in _readings(label, size):
        try:
            if read(made) == label:
                return made
        except LabelError:
            continue
    raise ExportError(f"Found the label {label[:80]!r}, which the task does not read again. Ingest the images anew.")


def write_image(folder: Path, item: Item) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / item.name).write_bytes(item.read())


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def number(edge: float) -> str:
    """Px as text: 12 or 12.25, never 12.0 or 1e5."""
    return f"{edge:.2f}".rstrip("0").rstrip(".")


def sides(box: Box) -> tuple[float, float]:
    """Width and height."""
    return box.right - box.left, box.bottom - box.top


def _readings(label: str, size: tuple[int, int]) -> Iterator[Annotation]:
    """All that the text may mean, the strictest first."""
    tries: tuple[Callable[[], Annotation], ...] = (
        lambda: Annotation(areas=areas_in(label)[0], size=areas_in(label)[1]),
        lambda: Annotation(labels=labels_in(label)),
        lambda: Annotation(things=things_in(label), size=size),
        lambda: Annotation(labels=(label,)),
    )
    for made in tries:
        try:
            yield made()
        except LabelError:
            continue
