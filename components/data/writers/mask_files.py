"""Areas of classes -> mask PNGs: the value of a pixel is the number of its class, 255 where it is not judged.

In: items with areas. Out: a PNG with a palette for each, so that the classes can be told apart in any viewer, and
classes.txt with number and name. A PNG holds 255 classes; more are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from components.data.annotations import mask_of
from components.data.sources.masks import NOT_JUDGED
from components.data.writers import Contents, ExportError, Item, write_lines


def write_classes(folder: Path, contents: Contents) -> None:
    if len(contents.classes) > NOT_JUDGED:
        raise ExportError(f"Found {len(contents.classes)} classes; a mask PNG holds {NOT_JUDGED}. Use --format coco.")
    write_lines(folder / "classes.txt", [f"{place} {name}" for name, place in contents.places.items()])


def write_mask(path: Path, item: Item, places: Mapping[str, int]) -> None:
    """One PNG, as large as the image."""
    from PIL import Image

    values = np.full((item.size[1], item.size[0]), NOT_JUDGED, np.uint8)
    for name, runs in (item.said.areas or {}).items():
        values[mask_of(runs, item.size)] = places[name]
    image = Image.frombytes("P", item.size, values.tobytes())
    image.putpalette(_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG", optimize=False)


def _palette() -> list[int]:
    """256 colours; neighbouring numbers differ strongly (the bits of a number are dealt out to red, green and blue)."""
    channels = []
    for value in range(256):
        bits = [(value >> place) & 1 for place in range(8)]
        channels += [sum(bits[place] << (7 - place // 3) for place in range(start, 8, 3)) for start in range(3)]
    return channels
