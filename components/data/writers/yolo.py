"""YOLO: images/<split>/, labels/<split>/*.txt and data.yaml; for areas masks/<split>/*.png and classes.txt.

In: the contents. Out: a line `class x y width height` in shares for each object, `class` alone for a label; where each
image has one label, the folders <split>/<label>/ that YOLO classifiers read, if the labels can be names of folders.
YOLO has no crowds, and no masks but outlines, which would move pixels: both are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ruamel.yaml import YAML

from components.data.annotations import Thing
from components.data.sources import SPLITS, SYSTEM_FILES
from components.data.writers import Contents, Item, sides, write_image, write_lines
from components.data.writers.mask_files import write_classes, write_mask

Size = tuple[int, int]


def write_yolo(folder: Path, contents: Contents) -> None:
    if _are_folders(contents):
        for item in contents.items:
            write_image(folder / (item.split or "") / (item.said.labels or ("",))[0], item)
    elif contents.drawn:
        write_classes(folder, contents)
        places = contents.places
        for item in contents.items:
            write_image(folder / "images" / (item.split or ""), item)
            write_mask(folder / "masks" / (item.split or "") / f"{item.stem}.png", item, places)
    else:
        _write_lines(folder, contents)


def _are_folders(contents: Contents) -> bool:
    """Whether folders of labels can hold this: one label an image, splits for all or for none, names of folders."""
    one_each = not contents.several and all(item.said.labels and len(item.said.labels) == 1 for item in contents.items)
    return (
        one_each and len({item.split is None for item in contents.items}) == 1 and all(map(_is_name, contents.classes))
    )


def _is_name(label: str) -> bool:
    low = label.lower()
    odd = label.startswith(".") or "/" in label or low in SYSTEM_FILES or low in SPLITS
    return not odd and len(label.encode()) <= 255


def _write_lines(folder: Path, contents: Contents) -> None:
    splits = {split: f"images/{split}" for split in contents.by_split if split}
    content = {"path": ".", **splits, "nc": len(contents.classes), "names": list(contents.classes)}
    with (folder / "data.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(content, file)
    places = contents.places
    for item in contents.items:
        write_image(folder / "images" / (item.split or ""), item)
        write_lines(folder / "labels" / (item.split or "") / f"{item.stem}.txt", list(_lines(item, places)))


def _lines(item: Item, places: Mapping[str, int]) -> Iterator[str]:
    for label in item.said.labels or ():
        yield str(places[label])
    for thing in item.said.things or ():
        yield " ".join([str(places[thing.label]), *map(repr, _shares(thing, item.size))])


def _shares(thing: Thing, size: Size) -> tuple[float, float, float, float]:
    """Middle and sides, with all digits: the edges come back to a hundredth of a px."""
    width, height = sides(thing.box)
    x, y = thing.box.left + width / 2, thing.box.top + height / 2
    return x / size[0], y / size[1], width / size[0], height / size[1]
