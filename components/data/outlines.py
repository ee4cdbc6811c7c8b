"""Outlines and run lengths as annotation files give them -> masks as labels hold them.

In: polygons in px, or the run lengths of COCO as text or as a list. Out: the run lengths of `annotations`, or a
LabelError that says what is wrong: pycocotools draws whatever it is given, and with a NaN takes all memory. Polygons
are drawn by its rules (Lin et al. 2014), and shapely tells those that cross themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import (
    BACKGROUND,
    MOST_PIXELS,
    OVERHANG,
    Box,
    LabelError,
    Thing,
    is_ignored,
    mask_of,
    run_lengths,
)

Size = tuple[int, int]  # width and height, px


def drawn(polygons: Sequence[Any], size: Size) -> str:
    """Run lengths of the union of `polygons`, each a list x, y, x, y, ... in px of a picture of `size`.

    Raises LabelError for a polygon with fewer than three corners, a corner that is no number or outside of the
    picture, no area, or edges that cross.
    """
    from pycocotools import mask as coco

    if not polygons:
        raise LabelError("bad_polygon", "found no polygon, expected a list of one or more")
    width, height = size
    if width * height > MOST_PIXELS:
        raise LabelError("bad_polygon", f"image of {width} x {height} px; at most {MOST_PIXELS:,} pixels are drawn")
    corners = [_checked(each, size).ravel().tolist() for each in polygons]
    runs: bytes = coco.merge(coco.frPyObjects(corners, height, width))["counts"]
    return runs.decode("ascii")


def repeated(found: Any, size: Size) -> str:
    """Run lengths of COCO's `{"size": [height, width], "counts": text or list}`, in the one form that labels have."""
    made_for = found.get("size") if isinstance(found, dict) else found
    if made_for != [size[1], size[0]]:
        raise LabelError("bad_mask", f"mask of size {made_for}, expected [height, width] = [{size[1]}, {size[0]}]")
    counts = found.get("counts")
    if isinstance(counts, str):
        return run_lengths(mask_of(counts, size))
    return run_lengths(_counted(counts, size))


def box_of(runs: str, size: Size) -> Box:
    """The smallest box around a mask; raise LabelError for an empty one."""
    from pycocotools import mask as coco

    left, top, width, height = coco.toBbox({"counts": runs.encode("ascii"), "size": [size[1], size[0]]}).tolist()
    if not width or not height:
        raise LabelError("bad_mask", "the mask is empty")
    return Box(left, top, left + width, top + height)


def areas_of(things: Sequence[Thing], size: Size) -> dict[str, str]:
    """Run lengths of the area of each class, small objects upon large ones, and of BACKGROUND where there is none.

    Every thing has a mask. What classes that `is_ignored` names cover is in no area.
    """
    masks = sorted(((mask_of(thing.mask, size), thing.label) for thing in things), key=lambda each: -each[0].sum())
    names = sorted({BACKGROUND, *(label for _, label in masks)})
    painted = np.full((size[1], size[0]), names.index(BACKGROUND))
    for mask, label in masks:
        painted[mask] = names.index(label)
    judged = [(place, name) for place, name in enumerate(names) if not is_ignored(name)]
    return {name: run_lengths(painted == place) for place, name in judged if (painted == place).any()}


def _checked(polygon: Any, size: Size) -> NDArray[np.float64]:
    """(corners, 2)"""
    try:
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    except (ValueError, TypeError):
        raise LabelError("bad_polygon", f"found {str(polygon)[:60]}, expected x, y, x, y, ... in px") from None
    if len(corners) < 3:
        raise LabelError("bad_polygon", f"polygon with {len(corners)} corner(s), expected three or more")
    if not np.isfinite(corners).all():
        raise LabelError("bad_polygon", "polygon with a corner that is no number")
    if corners.min() < -OVERHANG or (corners > np.array(size) + OVERHANG).any():
        raise LabelError("bad_polygon", f"polygon that leaves its image of {size[0]} x {size[1]} px")
    _refuse_crossing(corners)
    return corners


def _refuse_crossing(corners: NDArray[np.float64]) -> None:
    from shapely import Polygon
    from shapely.validation import explain_validity

    shape = Polygon(corners)
    said = explain_validity(shape)
    if said.startswith("Self-intersection"):  # touching itself in a corner ("Ring Self-intersection") is no crossing
        raise LabelError("bad_polygon", f"polygon that crosses itself at {said.removeprefix('Self-intersection')}")
    if not shape.area:
        raise LabelError("bad_polygon", "polygon without area")


def _counted(counts: Any, size: Size) -> NDArray[np.bool_]:
    """Uncompressed: how many px are outside, inside, outside, ..., column by column."""
    whole = isinstance(counts, list) and all(type(each) is int and each >= 0 for each in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise LabelError("bad_mask", f"run lengths that do not add up to {size[0]} x {size[1]} px")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size).T
