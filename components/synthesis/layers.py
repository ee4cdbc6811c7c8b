"""One object as it will lie in a picture: warped, and brought to the colours and the sharpness of its ground.

In: a cut-out, a matrix from its px to the picture's, the picture. Out: a `Layer`, cut off at the frame of the picture.
Which object covers which is left to `compose`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.params import SynthesizeParams
from components.synthesis.colour import Floats, follow, soften
from components.synthesis.cutouts import Cutout, Rgba
from components.synthesis.plane import Matrix, corners

Picture = NDArray[np.uint8]  # (height, width, 3)
SOLID = 0.5  # alpha from which a pixel shows the object
FRAME = 2  # transparent px around a cut-out, so that its edges are antialiased when it is turned


@dataclass(frozen=True)
class Layer:
    """`rgb` (h, w, 3) 0..255 and `alpha` (h, w) 0..1, with their top left corner in the picture."""

    cutout: Cutout
    left: int
    top: int
    rgb: Floats
    alpha: Floats
    whole: int  # px of the object, also those outside of the frame

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def solid(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(height, width) of the picture: the pixels that show the object when nothing lies on it."""
        found = np.zeros(shape, dtype=np.bool_)
        found[self.place] = self.alpha >= SOLID
        return found


def layer_of(cutout: Cutout, matrix: Matrix, picture: Picture, params: SynthesizeParams) -> Layer | None:
    """None for an object that is wholly outside of the picture, or too small to show."""
    left, top, rgba = warped(cutout.rgba, matrix, 1 + math.ceil(4 * params.blur))
    height, width = picture.shape[:2]
    rows = slice(max(0, -top), max(0, min(rgba.shape[0], height - top)))
    columns = slice(max(0, -left), max(0, min(rgba.shape[1], width - left)))
    inside = rgba[rows, columns].astype(np.float32)
    if not (inside[..., 3] >= 255 * SOLID).any():
        return None
    left, top = max(left, 0), max(top, 0)
    ground = picture[top : top + inside.shape[0], left : left + inside.shape[1]].astype(np.float32)
    rgb, alpha = inside[..., :3], inside[..., 3] / np.float32(255)
    whole, shown = (int((each >= 255 * SOLID).sum()) for each in (rgba[..., 3], inside[..., 3]))
    rgb = follow(rgb, alpha, ground, params.colour)
    rgb, alpha = soften(rgb, alpha, ground, params.blur)
    return Layer(cutout, left, top, rgb, alpha, max(whole, shown))


def warped(rgba: Rgba, matrix: Matrix, margin: int) -> tuple[int, int, Rgba]:
    """Left, top and (h, w, 4): `rgba` carried by `matrix`, antialiased, with `margin` transparent px around it."""
    framed = np.pad(rgba, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), mode="edge")
    framed[..., 3] = np.pad(rgba[..., 3], FRAME)
    image, matrix = _shrunk(Image.fromarray(framed), matrix @ _shift(-FRAME, -FRAME))
    found = corners(matrix, image.size)
    left, top = (int(edge) - margin for edge in np.floor(found.min(axis=0)))
    width, height = (int(edge) + margin for edge in np.ceil(found.max(axis=0)) - (left, top))
    back = np.linalg.inv(_shift(-left, -top) @ matrix)
    size, coefficients = (max(width, 1), max(height, 1)), (back / back[2, 2]).ravel()[:8].tolist()
    result = image.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    return left, top, np.asarray(result)


def _shrunk(image: Image.Image, matrix: Matrix) -> tuple[Image.Image, Matrix]:
    """The image at about the size it will have: a warp that shrinks would skip pixels."""
    scale = _scale(matrix, image.size)
    if scale >= 1:
        return image, matrix
    size = tuple(max(1, round(side * scale)) for side in image.size)
    small = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return small, matrix @ np.diag([image.width / size[0], image.height / size[1], 1.0])


def _scale(matrix: Matrix, size: tuple[int, int]) -> float:
    """Square root of how a small area in the middle grows."""
    x, y = size[0] / 2, size[1] / 2
    centre = matrix @ np.array([x, y, 1.0])
    jacobian = (matrix[:2, :2] - np.outer(centre[:2] / centre[2], matrix[2, :2])) / centre[2]
    return float(np.sqrt(abs(np.linalg.det(jacobian))))


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
