"""Large pictures in tiles: where they lie, their pixels, and what is labelled in each.

In: pictures (height, width, 3) whose objects would be too small in the model's square, and the things in them. Out:
windows that cover the whole picture and overlap, each with its own things, in px of the window. What is found in tiles
is put together again by `components.tasks.tiles`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Box, Thing, mask_of, run_lengths

VISIBLE = 0.4  # of a thing's area must lie in a window, or it is not asked for there: the next window has more of it


class Window(NamedTuple):
    """A part of a picture, px."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


def windows(size: tuple[int, int], side: int, overlap: float) -> list[Window]:
    """Squares of `side` px that cover a picture of `size` (width, height), row by row, spread evenly.

    Neighbours share `overlap` (0..1) of their side at least. A side of the picture under `side` is taken whole.
    Raises ValueError for a side under 1 px or an overlap outside of 0..0.9.
    """
    if side < 1 or not 0 <= overlap <= 0.9:
        raise ValueError(f"Tiles of {side} px that overlap by {overlap:g}; expected 1 px or more, and 0 to 0.9.")
    across, down = (_starts(length, side, overlap) for length in size)
    width, height = (min(side, length) for length in size)
    return [Window(left, top, left + width, top + height) for top in down for left in across]


def cut(rgb: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """The pixels (height, width, 3) of `window`; no copy."""
    return rgb[window.top : window.bottom, window.left : window.right]


def things_in_window(things: Iterable[Thing], window: Window, size: tuple[int, int]) -> tuple[Thing, ...]:
    """The things of a picture of `size` that `window` shows enough of, cut at its edges, in px of the window."""
    found = (_cut_thing(thing, window, size) for thing in things)
    return tuple(thing for thing in found if thing is not None)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where windows begin along one side of the picture."""
    if length <= side:
        return [0]
    step = max(1.0, side * (1 - overlap))
    count = math.ceil((length - side) / step - 1e-9) + 1
    return [round(place * (length - side) / (count - 1)) for place in range(count)]


def _cut_thing(thing: Thing, window: Window, size: tuple[int, int]) -> Thing | None:
    box = thing.box
    left, top = max(box.left, window.left), max(box.top, window.top)
    right, bottom = min(box.right, window.right), min(box.bottom, window.bottom)
    whole, seen = (box.right - box.left) * (box.bottom - box.top), (right - left) * (bottom - top)
    if right <= left or bottom <= top or seen < VISIBLE * whole:
        return None
    inside = Box(left - window.left, top - window.top, right - window.left, bottom - window.top)
    return Thing(thing.label, inside, _cut_mask(thing.mask, window, size), thing.crowd)


def _cut_mask(runs: str, window: Window, size: tuple[int, int]) -> str:
    if not runs:
        return ""
    return run_lengths(mask_of(runs, size)[window.top : window.bottom, window.left : window.right])
