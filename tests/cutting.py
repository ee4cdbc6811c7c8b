"""Stuff for tests of made images: drawn cut-outs, plain backgrounds, params that change nothing unless told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from components.params import IngestParams, SynthesizeParams
from components.synthesis.arrange import Stock, stock_of
from components.synthesis.backgrounds import Ground
from components.synthesis.cutouts import Cutout

COLOURS = {"circle": (230, 40, 40), "square": (40, 60, 230), "triangle": (60, 220, 60), "cross": (230, 220, 40)}
INGEST = IngestParams(formats=("PNG", "JPEG"), max_pixels=10_000_000, min_side=8, shard_mb=1, max_bad_share=0.0)
PLAIN = SynthesizeParams(
    seed=7,
    images=6,
    objects=(1, 4),
    classes=(),
    size=(0.2, 0.5),
    plane="none",
    horizon=(0.3, 0.3),
    rotate=0,
    flip=False,
    colour=0,
    blur=0,
    shadow=0,
    blend="alpha",
    feather=2.0,
    max_side=1024,
    ratios=(1.0,),
    seeds=2,
    confidence=0.95,
)


def rgba_of(shape: str, side: int = 40, colour: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    """(side, side, 4): one shape in one colour, transparent around it."""
    image = Image.new("RGBA", (side, side))
    pen, fill = ImageDraw.Draw(image), (*(colour or COLOURS[shape]), 255)
    box, middle = (2, 2, side - 3, side - 3), side // 2
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "triangle":
        pen.polygon([(middle, 2), (2, side - 3), (side - 3, side - 3)], fill=fill)
    else:
        width = max(2, side // 4)
        pen.line(box, fill=fill, width=width)
        pen.line((2, side - 3, side - 3, 2), fill=fill, width=width)
    return np.asarray(image)


def cutout_of(shape: str, side: int = 40, **changes: Any) -> Cutout:
    return replace(Cutout(shape, rgba_of(shape, side), f"{shape}/1.png"), **changes)


def grey(width: int = 160, height: int = 120, value: int = 90) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, dtype=np.uint8)


def noise(seed: int, side: int = 32) -> NDArray[np.uint8]:
    """The ground of `tests.drawing.draw`."""
    return np.random.default_rng([99, seed]).integers(0, 90, (side, side, 3), dtype=np.uint8)


def stock(
    cutouts: Sequence[Cutout], pictures: Sequence[NDArray[np.uint8]], single: bool = False, known: Sequence[str] = ()
) -> Stock:
    def opener(picture: NDArray[np.uint8]) -> Ground:
        return Ground("plain", lambda: (picture, None))

    return stock_of(cutouts, [opener(picture) for picture in pictures], single, known or sorted(COLOURS))


def write_cutouts(folder: Path, shapes: Sequence[str] = ("circle", "square"), count: int = 2) -> Path:
    """`folder`/<shape>/<number>.png"""
    for shape in shapes:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(rgba_of(shape, 30 + 4 * number)).save(folder / shape / f"{number}.png")
    return folder
