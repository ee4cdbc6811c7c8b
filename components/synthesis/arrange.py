"""Which objects go where in one made image: all of it drawn from a random generator.

In: a stock of cut-outs and backgrounds, the `synthesize:` section. Out: layers, the farthest first. Drawing them is
left to `compose`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from components.params import SynthesizeParams
from components.synthesis.backgrounds import Ground
from components.synthesis.cutouts import Cutout
from components.synthesis.layers import Layer, Picture, layer_of
from components.synthesis.plane import Matrix, Plane


@dataclass(frozen=True)
class Stock:
    """What images are made of. `single`: exactly one object an image; `known`: the classes of the real images."""

    cutouts: Mapping[str, Sequence[Cutout]]  # by label
    grounds: Sequence[Ground]
    single: bool
    known: Collection[str]


@dataclass(frozen=True)
class Spot:
    """An object and where it goes; `row` is where it touches the ground, px."""

    cutout: Cutout
    row: float
    matrix: Matrix


def stock_of(cutouts: Sequence[Cutout], grounds: Sequence[Ground], single: bool, known: Collection[str]) -> Stock:
    by_label: defaultdict[str, list[Cutout]] = defaultdict(list)
    for cutout in cutouts:
        by_label[cutout.label].append(cutout)
    return Stock(dict(sorted(by_label.items())), grounds, single, known)


def arranged(stock: Stock, picture: Picture, params: SynthesizeParams, random: np.random.Generator) -> list[Layer]:
    """The objects of one image that lie in its frame, the farthest first."""
    height, width = picture.shape[:2]
    plane = Plane(params.plane, width, height, float(random.uniform(*params.horizon)) * height)
    count = 1 if stock.single else int(random.integers(params.objects[0], params.objects[1] + 1))
    spots = [spot(_picked(stock, random), plane, params, random) for _ in range(count)]
    if plane.kind != "none":
        spots.sort(key=lambda each: each.row)
    layers = (layer_of(each.cutout, each.matrix, picture, params) for each in spots)
    return [layer for layer in layers if layer is not None]


def spot(cutout: Cutout, plane: Plane, params: SynthesizeParams, random: np.random.Generator) -> Spot:
    """Where `cutout` goes: anywhere on the ground, turned and flipped as `params` allow."""
    x, row = float(random.uniform(0, plane.width)), float(random.uniform(*plane.rows))
    size, degrees = random.uniform(*params.size), float(random.uniform(-params.rotate, params.rotate))
    if params.flip and random.random() < 0.5:
        cutout = replace(cutout, rgba=cutout.rgba[:, ::-1])
    if cutout.by_box:  # turned or seen at a slant, its box would tell nothing of the object in it
        cutout, degrees, plane = _quartered(cutout, params, random), 0.0, _upright(plane)
    share = cutout.size if plane.kind == "none" and cutout.size else size
    longest = float(share * min(plane.width, plane.height) * plane.scale(row))
    height, width = cutout.rgba.shape[:2]
    return Spot(cutout, row, plane.placed((width, height), (x, row), longest, degrees))


def _picked(stock: Stock, random: np.random.Generator) -> Cutout:
    """Each class comes equally often."""
    of_class = list(stock.cutouts.values())[int(random.integers(len(stock.cutouts)))]
    return of_class[int(random.integers(len(of_class)))]


def _quartered(cutout: Cutout, params: SynthesizeParams, random: np.random.Generator) -> Cutout:
    most = int(params.rotate // 90)
    return replace(cutout, rgba=np.rot90(cutout.rgba, int(random.integers(-most, most + 1))))


def _upright(plane: Plane) -> Plane:
    return replace(plane, kind="standing") if plane.kind == "lying" else plane
