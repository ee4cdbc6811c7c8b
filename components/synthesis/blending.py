"""An object and its shadow laid on a picture.

In: float RGB 0..255 of ground and object, alpha 0..1. Out: float RGB; pixels of alpha 0 stay as they are, but for the
shadow.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from components.synthesis.colour import Floats
from components.synthesis.layers import SOLID, Layer

SQUASHED = 0.25  # height of a shadow on the ground / height of what stands there
ASIDE = 0.6  # how far it may lean, in heights
OFFSET = 0.06  # of the longest side: where the shadow of a flat thing lies
SOFTNESS = 0.05  # of the longest side: blur of a shadow


def laid_on(picture: Floats, layer: Layer, blend: Literal["auto", "alpha", "poisson"]) -> None:
    """Change `picture` (H, W, 3) in place."""
    ground, alpha = picture[layer.place], layer.alpha[..., None]
    wanted = blend == "poisson" or (blend == "auto" and layer.cutout.by_box)
    seamless = wanted and not (layer.alpha[[0, -1]].any() or layer.alpha[:, [0, -1]].any())
    rgb = poisson(ground, layer.rgb, layer.alpha) if seamless else layer.rgb
    picture[layer.place] = ground * (1 - alpha) + rgb * alpha


def poisson(ground: Floats, rgb: Floats, alpha: Floats) -> Floats:
    """(h, w, 3): the picture that has the object's steps from pixel to pixel inside, and the ground's elsewhere.

    Perez et al. 2003 (Poisson Image Editing), solved for the whole patch by sine transform as OpenCV's seamlessClone
    does. Its frame must be outside of the object. Meant for cut-outs with some of their own ground around: an even
    object cut out along its edge has no steps, and vanishes.
    """
    from scipy.fft import dstn, idstn

    inside, change = alpha >= SOLID, rgb - ground  # colours under less alpha are hardly known
    across = np.diff(change, axis=1) * (inside[:, 1:] & inside[:, :-1])[..., None]
    down = np.diff(change, axis=0) * (inside[1:] & inside[:-1])[..., None]
    divergence = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    rows, columns = (2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in divergence.shape[:2])
    solved = dstn(divergence, type=1, axes=(0, 1)) / (rows[:, None] + columns)[..., None]
    found = ground.astype(np.float32)
    found[1:-1, 1:-1] += idstn(solved, type=1, axes=(0, 1))
    return np.clip(found, 0, 255)


def shade(picture: Floats, layer: Layer, standing: bool, light: float, strength: float) -> None:
    """Darken `picture` in place where the object's soft shadow falls; `light` is where it points to, radians."""
    if not strength:
        return
    height, width = picture.shape[:2]
    whole = np.zeros((height, width), dtype=np.uint8)
    whole[layer.place] = (255 * layer.alpha).round()
    rows, columns = (np.flatnonzero((layer.alpha > 0).any(axis=axis)) for axis in (1, 0))
    longest = max(len(rows), len(columns))
    back = _leaning(layer.top + int(rows[-1]) + 1, light) if standing else _beside(OFFSET * longest, light)
    fallen = Image.fromarray(whole).transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    soft = np.asarray(fallen.filter(ImageFilter.GaussianBlur(SOFTNESS * longest)), dtype=np.float32) / 255
    picture *= 1 - np.float32(strength) * soft[..., None]


def _leaning(foot: float, light: float) -> tuple[float, ...]:
    """Where a point of a shadow on the ground comes from (a, b, c, d, e, f of Pillow's affine transform)."""
    lean = ASIDE * math.cos(light) / SQUASHED
    return (1.0, lean, -lean * foot, 0.0, 1 / SQUASHED, foot - foot / SQUASHED)


def _beside(distance: float, light: float) -> tuple[float, ...]:
    return (1.0, 0.0, -distance * math.cos(light), 0.0, 1.0, -distance * math.sin(light))
