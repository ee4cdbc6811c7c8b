"""Objects on a background -> a picture, and exactly which of its pixels show which object.

In: a picture and layers, the farthest first. Out: a `Composite`. A pixel shows the nearest object whose alpha there is
a half or more. An object of which less than a quarter shows is left out of picture and labels alike: nobody would have
labelled it, drawn without a label it would teach that it is ground, and a crowd is something else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import BACKGROUND, Annotation, Box, Thing, run_lengths
from components.params import SynthesizeParams
from components.synthesis.blending import laid_on, shade
from components.synthesis.cutouts import Cutout
from components.synthesis.layers import Layer, Picture

VISIBLE = 0.25  # of an object's pixels, also those outside of the frame
Mask = NDArray[np.bool_]  # (height, width) of the picture
Areas = Mapping[str, Mask]


@dataclass(frozen=True)
class Placed:
    """An object in a picture; the box is the smallest around its visible pixels."""

    cutout: Cutout
    mask: Mask

    @property
    def box(self) -> Box:
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


@dataclass(frozen=True)
class Composite:
    picture: Picture
    objects: tuple[Placed, ...]  # the farthest first


def compose(picture: Picture, layers: Sequence[Layer], params: SynthesizeParams, light: float) -> Composite:
    """Lay `layers` on `picture`; shadows point to `light`, radians."""
    kept = visible(layers, (picture.shape[0], picture.shape[1]))
    page = picture.astype(np.float32)
    for layer, _ in kept:
        shade(page, layer, params.plane == "standing", light, params.shadow)
        laid_on(page, layer, params.blend)
    objects = tuple(Placed(layer.cutout, mask) for layer, mask in kept)
    return Composite(page.round().clip(0, 255).astype(np.uint8), objects)


def visible(layers: Sequence[Layer], shape: tuple[int, int]) -> list[tuple[Layer, Mask]]:
    """The layers of which enough shows, and where they do; from the nearest on, so that what is left out hides none."""
    covered, kept = np.zeros(shape, dtype=np.bool_), []
    for layer in reversed(layers):
        solid = layer.solid(shape)
        mask = solid & ~covered
        if mask.any() and mask.sum() >= VISIBLE * layer.whole:
            kept.append((layer, mask))
            covered |= solid
    return kept[::-1]


def said_of(composite: Composite, areas: Areas | None, known: Collection[str]) -> Annotation:
    """All that can be said of the picture, for any task to choose from.

    `areas` are those of its background; where they are unknown, what is not covered counts as BACKGROUND if the dataset
    knows that class, and is not judged otherwise.
    """
    height, width = composite.picture.shape[:2]
    things = tuple(
        Thing(each.cutout.label, each.box, "" if each.cutout.by_box else run_lengths(each.mask))
        for each in composite.objects
    )
    rest = {BACKGROUND: np.ones((height, width), dtype=np.bool_)} if BACKGROUND in known else {}
    painted = _painted(rest if areas is None else areas, composite.objects)
    runs = {name: run_lengths(mask) for name, mask in sorted(painted.items()) if mask.any()}
    return Annotation(tuple(sorted({thing.label for thing in things})), things, runs, (width, height))


def _painted(areas: Areas, objects: Sequence[Placed]) -> Areas:
    """The areas with the objects on them."""
    found = {name: mask.copy() for name, mask in areas.items()}
    for each in objects:
        for mask in found.values():
            mask &= ~each.mask
        found[each.cutout.label] = found.get(each.cutout.label, np.zeros_like(each.mask)) | each.mask
    return found
