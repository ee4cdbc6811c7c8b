"""Areas of classes in an image: what a source says -> the text of the label -> the target of each pixel.

In: an `Annotation`, or a text that `annotations.areas_text` wrote. Out: that text, checked; uint8 maps of places in the
classes, IGNORED where the source says nothing. Logits and metrics are left to `class_maps` and `segmentation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.annotations import Annotation, LabelError, areas_in, areas_text, mask_of, run_lengths
from components.data.images import square_of
from components.data.outlines import areas_of

IGNORED = 255  # in a map: a pixel that is not judged
MOST_CLASSES = 255  # that a map can tell apart


def areas_said(said: Annotation) -> str:
    """The areas of `said`, or those of its objects and of the background; raise LabelError where it gives no areas."""
    if said.size is None or (said.areas is None and said.things is None):
        raise LabelError("no_label", "found no areas and no outlined objects; expected a mask or polygons")
    if said.areas is not None:
        return areas_text(said.areas, said.size)
    if not all(thing.mask for thing in said.things or ()):
        raise LabelError("no_label", "found a box without an outline; expected a mask or polygon for each object")
    return areas_text(areas_of(said.things or (), said.size), said.size)


def checked(label: str, size: tuple[int, int]) -> str:
    """`label` without its empty areas, for an image of `size` (width, height).

    Raises LabelError for areas of another size, for areas that overlap, and where no pixel has a class.
    """
    areas, own = areas_in(label)
    if own != size:
        found, expected = (f"{width} x {height} px" for width, height in (own, size))
        raise LabelError("bad_mask", f"areas are drawn for {found}, the image has {expected}")
    masks = {name: mask for name, runs in areas.items() if (mask := mask_of(runs, size)).any()}
    if not masks:
        raise LabelError("no_label", "no pixel has a class; expected at least one area")
    twice = int((np.sum(list(masks.values()), axis=0) > 1).sum())
    if twice:
        raise LabelError("bad_mask", f"{twice} pixel(s) lie in several areas; expected one class for each pixel")
    return areas_text({name: areas[name] for name in masks}, size)


def class_map(label: str, place: Mapping[str, int]) -> NDArray[np.uint8]:
    """(height, width) of the image: `place` of the class of each pixel; raise KeyError for a class without one."""
    areas, size = areas_in(label)
    found = np.full((size[1], size[0]), IGNORED, dtype=np.uint8)
    for name, runs in areas.items():
        found[mask_of(runs, size)] = place[name]
    return found


def in_square(found: NDArray[np.uint8], side: int, fit: Literal["stretch", "crop"]) -> NDArray[np.uint8]:
    """(height, width) -> (side, side), of each the nearest pixel, in the same square as the image itself."""
    height, width = found.shape
    box = square_of(width, height, fit)
    return np.asarray(Image.fromarray(found).resize((side, side), Image.Resampling.NEAREST, box=box))


def areas_of_square(
    found: NDArray[np.uint8], classes: Sequence[str], size: tuple[int, int], fit: Literal["stretch", "crop"]
) -> str:
    """The map (s, s) of the square as the text of its image of `size` (width, height), of each pixel the nearest.

    What the square leaves out of the image is in no area.
    """
    width, height = size
    left, top, right, bottom = square_of(width, height, fit)
    columns = np.floor((np.arange(width) + 0.5 - left) / (right - left) * len(found)).astype(np.int64)
    rows = np.floor((np.arange(height) + 0.5 - top) / (bottom - top) * len(found)).astype(np.int64)
    framed = np.pad(found, 1, constant_values=IGNORED)  # what lies outside is taken from the frame
    whole = framed[np.clip(rows + 1, 0, len(found) + 1)][:, np.clip(columns + 1, 0, len(found) + 1)]
    masks = {name: whole == place for place, name in enumerate(classes)}
    return areas_text({name: run_lengths(mask) for name, mask in masks.items() if mask.any()}, size)
