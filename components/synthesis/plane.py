"""Where things stand in a picture: a ground plane seen by a level camera, as a homography.

In: the size of a picture and where its horizon is. Out: 3 x 3 matrices from px of a cut-out to px of the picture. With
the camera one unit above the plane, X to the right and Z ahead, the plane's point (X, Z) is seen at
x = centre + f X / Z, y = horizon + f / Z: what is one unit wide at row y is y - horizon px wide, so that what is lower
in the picture is larger (Hartley and Zisserman 2004, chapter 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # (3, 3), on columns (x, y, 1)
Kind = Literal["none", "standing", "lying"]
NEAREST_TO_HORIZON = 0.15  # of the ground's height: nearer to it, objects would be dots


@dataclass(frozen=True)
class Plane:
    """The ground of a picture of `width` x `height` px whose horizon is at row `horizon`; "none": flat, from above."""

    kind: Kind
    width: int
    height: int
    horizon: float  # px

    @property
    def rows(self) -> tuple[float, float]:
        """First and last row in which an object may touch the ground, px."""
        if self.kind == "none":
            return 0.0, float(self.height)
        return self.horizon + NEAREST_TO_HORIZON * (self.height - self.horizon), float(self.height)

    def scale(self, row: float) -> float:
        """How large things are at `row`, compared with the bottom row of the picture."""
        return 1.0 if self.kind == "none" else (row - self.horizon) / (self.height - self.horizon)

    def ground(self) -> Matrix:
        """(X, Z, 1) on the plane -> picture; the focal length is the picture's width (53 degrees across)."""
        focal = float(self.width)
        return np.array([[focal, self.width / 2, 0.0], [0.0, self.horizon, focal], [0.0, 1.0, 0.0]])

    def placed(self, size: tuple[int, int], at: tuple[float, float], longest: float, degrees: float) -> Matrix:
        """A cut-out of `size` (width, height) px put at (x, y), turned, its longest side `longest` px wide there.

        It touches the ground with the middle of its lower edge when standing, with its own middle otherwise.
        """
        scale = longest / max(size)
        if self.kind == "lying":
            return self._lying(size, at, scale, degrees)
        foot = size[1] if self.kind == "standing" else size[1] / 2
        return _moved(*at) @ _turned(degrees, scale) @ _moved(-size[0] / 2, -foot)

    def _lying(self, size: tuple[int, int], at: tuple[float, float], scale: float, degrees: float) -> Matrix:
        unit = at[1] - self.horizon  # px that one unit takes at this row
        ahead = self.width / unit
        aside = (at[0] - self.width / 2) / unit
        flipped = np.diag([1.0, -1.0, 1.0])  # down in the cut-out is nearer on the ground
        on_ground = _moved(aside, ahead) @ flipped @ _turned(degrees, scale / unit) @ _moved(-size[0] / 2, -size[1] / 2)
        return self.ground() @ on_ground


def corners(matrix: Matrix, size: tuple[int, int]) -> Matrix:
    """(4, 2): where the corners of a cut-out of `size` (width, height) go."""
    width, height = size
    found = matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], dtype=np.float64)
    return np.asarray((found[:2] / found[2]).T)


def _moved(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _turned(degrees: float, scale: float) -> Matrix:
    cosine, sine = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
