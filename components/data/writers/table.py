"""labels.csv beside images/: path, label and split; more columns for boxes, or masks/ for areas.

In: the contents. Out: a row for each label or object; an image that shows nothing has one row with an empty label.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from components.data.annotations import Thing
from components.data.sources.table_objects import EDGES
from components.data.sources.tabular import SEPARATOR
from components.data.writers import Contents, ExportError, Item, number, write_image
from components.data.writers.mask_files import write_classes, write_mask

Row = dict[str, str]


def write_table(folder: Path, contents: Contents) -> None:
    double = [label for label in contents.classes if SEPARATOR in label and contents.several]
    if double:
        raise ExportError(f"The label {double[0]!r} holds {SEPARATOR!r}, which parts labels there. Use --format coco.")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, _columns(contents), restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for item in contents.items:
            place = {"path": f"images/{item.name}", "split": item.split or ""}
            table.writerows({**place, **row} for row in _rows(item))
    places = contents.places
    if contents.drawn:
        write_classes(folder, contents)
    for item in contents.items:
        write_image(folder / "images", item)
        if contents.drawn:
            write_mask(folder / _mask_name(item), item, places)


def _columns(contents: Contents) -> list[str]:
    things = [thing for item in contents.items for thing in item.said.things or ()]
    optional = {
        "crowd": any(thing.crowd for thing in things),
        "mask": any(thing.mask for thing in things),
        "split": any(item.split for item in contents.items),
    }
    said = ["annotation"] if contents.drawn else ["label", *EDGES] if things else ["label"]
    return ["path", *said, *(name for name, there in optional.items() if there)]


def _rows(item: Item) -> Iterator[Row]:
    if item.said.areas is not None:
        yield {"annotation": _mask_name(item)}
        return
    rows = [{"label": label} for label in item.said.labels or ()]
    rows += [_object(thing) for thing in item.said.things or ()]
    yield from rows or [{"label": ""}]


def _object(thing: Thing) -> Row:
    edges = dict(zip(EDGES, map(number, thing.box), strict=True))
    return {"label": thing.label, **edges, "crowd": "1" if thing.crowd else "", "mask": thing.mask}


def _mask_name(item: Item) -> str:
    return f"masks/{item.stem}.png"
