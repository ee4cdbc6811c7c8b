"""COCO JSON (Lin et al. 2014): images/, and annotations/instances_<split>.json for each split.

In: the contents. Out: objects with box, run lengths and iscrowd; the area of a class as one object; a label as an
annotation of nothing but its category. Pixels that are not judged are the area of a category "ignore".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from components.data.annotations import Thing, mask_of, run_lengths
from components.data.outlines import box_of
from components.data.writers import Contents, Item, sides, write_image

NOT_JUDGED = "ignore"
Row = dict[str, Any]


def write_coco(folder: Path, contents: Contents) -> None:
    classes = [*contents.classes, *([NOT_JUDGED] if contents.drawn else [])]
    ids = {name: number for number, name in enumerate(classes, 1)}
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in ids.items()]
    numbers = count(1)
    for split, items in contents.by_split.items():
        images = list(enumerate(items, 1))
        rows = [row for image_id, item in images for row in _annotations(image_id, item, ids)]
        content = {
            "images": [_image(image_id, item) for image_id, item in images],
            "annotations": [{"id": next(numbers), **row} for row in rows],
            "categories": categories,
        }
        path = folder / "annotations" / (f"instances_{split}.json" if split else "instances.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        for item in items:
            write_image(folder / "images", item)


def _image(image_id: int, item: Item) -> Row:
    return {"id": image_id, "file_name": item.name, "width": item.size[0], "height": item.size[1]}


def _annotations(image_id: int, item: Item, ids: Mapping[str, int]) -> Iterator[Row]:
    for label in item.said.labels or ():
        yield {"image_id": image_id, "category_id": ids[label]}
    for thing in (*(item.said.things or ()), *_areas(item)):
        yield {"image_id": image_id, "category_id": ids[thing.label], **_object(thing, item.size)}


def _areas(item: Item) -> Iterator[Thing]:
    """The area of each class as an object, and what no area covers."""
    areas = item.said.areas
    if areas is None:
        return
    judged = np.zeros((item.size[1], item.size[0]), np.bool_)
    for name, runs in sorted(areas.items()):
        judged |= mask_of(runs, item.size)
        yield Thing(name, box_of(runs, item.size), runs)
    if not judged.all():
        rest = run_lengths(~judged)
        yield Thing(NOT_JUDGED, box_of(rest, item.size), rest)


def _object(thing: Thing, size: tuple[int, int]) -> Row:
    width, height = sides(thing.box)
    found = {"bbox": [thing.box.left, thing.box.top, width, height], "iscrowd": int(thing.crowd)}
    if not thing.mask:
        return {**found, "area": width * height}
    area = int(mask_of(thing.mask, size).sum())
    return {**found, "area": area, "segmentation": {"size": [size[1], size[0]], "counts": thing.mask}}
