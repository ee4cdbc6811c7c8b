"""Cut-outs from the workspace's own training images: by masks exactly, by boxes with a soft edge.

In: `Original`s with objects or areas in their labels. Out: `Cutout`s of each class. What touches the frame of its
picture is cut off and left alone, and so are crowds and boxes that reach into one another: a second object in a
cut-out would be drawn without a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import BACKGROUND, Box, Thing, is_ignored, mask_of
from components.synthesis import SynthesisError
from components.synthesis.cutouts import Cutout
from components.synthesis.layers import Picture
from components.synthesis.originals import Original

MOST = 200  # cut-outs of one class; more would add hardly anything, and are kept in memory
MOST_READ = 5000  # images that are looked at
SMALLEST = 8  # px, side of an object
LARGEST = 0.5  # of its picture: what is larger is ground (road, sky), not an object


def harvest(images: Sequence[Original], classes: Sequence[str], feather: float) -> list[Cutout]:
    """At most MOST cut-outs of each of `classes` (of all if empty), by class; raise SynthesisError for none at all."""
    found: list[Cutout] = []
    have: Counter[str] = Counter()
    for image in images[:MOST_READ]:
        for cutout in _cut(image, feather):
            if (not classes or cutout.label in classes) and have[cutout.label] < MOST:
                have[cutout.label] += 1
                found.append(cutout)
        if classes and all(have[name] >= MOST for name in classes):
            break
    if not found:
        raise SynthesisError(
            f"Nothing can be cut out of the {len(images[:MOST_READ])} training images: their labels tell no box or "
            f"mask of an object that lies whole inside its picture and is {SMALLEST} px or larger. Give cut-outs with "
            "`--cutouts`."
        )
    return sorted(found, key=lambda cutout: cutout.label)


def _cut(image: Original, feather: float) -> Iterator[Cutout]:
    things, areas = image.things(), None if image.things() else image.areas()
    if not things and not areas:
        return
    picture, name = image.picture(), image.image_id[:12]
    for number, thing in enumerate(things or ()):
        if thing.crowd:
            continue
        mask = mask_of(thing.mask, (picture.shape[1], picture.shape[0])) if thing.mask else None
        if mask is not None:
            yield from _by_mask(picture, mask, thing.label, f"{name}/{number}")
        elif _is_alone(thing, things or ()):
            yield from _by_box(picture, thing, f"{name}/{number}", feather)
    for label, mask in (areas or {}).items():
        if label != BACKGROUND and not is_ignored(label):
            yield from _by_parts(picture, mask, label, name)


def _by_parts(picture: Picture, mask: NDArray[np.bool_], label: str, name: str) -> Iterator[Cutout]:
    """Each piece of an area that hangs together is an object."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as connected

    numbered, _ = connected(mask)
    for number, place in enumerate(find_objects(numbered), 1):
        if min(part.stop - part.start for part in place) >= SMALLEST:
            yield from _by_mask(picture, numbered == number, label, f"{name}/{label}-{number}")


def _by_mask(picture: Picture, mask: NDArray[np.bool_], label: str, name: str) -> Iterator[Cutout]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return
    box = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    if _fits(box, picture) and mask.sum() <= LARGEST * mask.size:
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        rgba = np.dstack([picture[part], 255 * mask[part].astype(np.uint8)])
        yield Cutout(label, rgba, name, size=_size(rgba, picture))


def _by_box(picture: Picture, thing: Thing, name: str, feather: float) -> Iterator[Cutout]:
    """Alpha falls from 1 to 0 over `feather` px, and is a half at the edges of the box."""
    left, top, right, bottom = thing.box
    if not _fits(thing.box, picture):
        return
    height, width = picture.shape[:2]
    rows, columns = (
        np.arange(max(0, int(low - feather)), min(most, int(np.ceil(high + feather))))
        for low, high, most in ((top, bottom, height), (left, right, width))
    )
    down, across = (
        _ramp(np.minimum(at + 0.5 - low, high - at - 0.5), feather)
        for at, low, high in ((rows, top, bottom), (columns, left, right))
    )
    alpha = (255 * np.minimum(down[:, None], across)).round().astype(np.uint8)
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    yield Cutout(thing.label, np.dstack([part, alpha]), name, by_box=True, size=_size(alpha, picture))


def _ramp(inside: NDArray[np.float64], feather: float) -> NDArray[np.float64]:
    return np.clip(inside / max(feather, 0.02) + 0.5, 0, 1)


def _fits(box: Box, picture: Picture) -> bool:
    height, width = picture.shape[:2]
    large = min(box.right - box.left, box.bottom - box.top) >= SMALLEST
    return large and box.left >= 1 and box.top >= 1 and box.right <= width - 1 and box.bottom <= height - 1


def _size(cut: NDArray[np.uint8], picture: Picture) -> float:
    return float(max(cut.shape[:2]) / min(picture.shape[:2]))


def _is_alone(thing: Thing, things: Sequence[Thing]) -> bool:
    one = thing.box
    return not any(
        other is not thing
        and min(one.right, other.box.right) > max(one.left, other.box.left)
        and min(one.bottom, other.box.bottom) > max(one.top, other.box.top)
        for other in things
    )
