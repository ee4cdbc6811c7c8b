"""Colours and sharpness of an object, made to follow those of the ground that it is put on.

In: RGB 0..255 as floats, and how much each pixel counts. Out: the same, changed. Colours are compared in CIELAB (D65,
2 degrees), which is near enough to how people see differences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TO_XYZ = np.array(  # linear sRGB -> XYZ / white of D65 (IEC 61966-2-1)
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])
TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
EDGE = 6 / 29  # below it the cube root is a straight line
SPREAD = (0.5, 2.0)  # times; a flat ground would wipe out an object's own contrast
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
BLURS = 6  # steps from none to the most


def to_lab(rgb: Floats) -> Floats:
    """(..., 3) RGB 0..255 -> L 0..100, a, b."""
    share = rgb.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((np.maximum(share, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T
    root = np.where(xyz > EDGE**3, np.cbrt(xyz), xyz / (3 * EDGE**2) + 4 / 29)
    return np.asarray(root @ TO_LAB.T - [16.0, 0.0, 0.0], dtype=np.float32)


def from_lab(lab: Floats) -> Floats:
    """The inverse; what RGB cannot show is cut off at 0 and 255."""
    root = (lab + np.array([16.0, 0.0, 0.0])) @ np.linalg.inv(TO_LAB).T
    xyz = np.where(root > EDGE, root**3, 3 * EDGE**2 * (root - 4 / 29))
    linear = np.clip(xyz @ np.linalg.inv(TO_XYZ).T, 0, 1)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(share * 255, dtype=np.float32)


def follow(rgb: Floats, weight: Floats, ground: Floats, strength: float) -> Floats:
    """Bring mean and spread of each channel of an object to those of `ground`, `strength` of the way there.

    `rgb` (h, w, 3), `weight` (h, w), `ground` (H, W, 3). Reinhard et al. 2001 (Color Transfer between Images), in
    CIELAB instead of their own space.
    """
    if not strength or not weight.any():
        return rgb
    lab, other = to_lab(rgb), to_lab(ground).reshape(-1, 3)
    mean = np.average(lab.reshape(-1, 3), axis=0, weights=weight.ravel())
    spread = np.sqrt(np.average((lab.reshape(-1, 3) - mean) ** 2, axis=0, weights=weight.ravel()))
    ratio = np.clip(other.std(axis=0) / np.maximum(spread, 1e-6), *SPREAD)
    moved = (lab - mean) * ratio + other.mean(axis=0)
    return from_lab(lab + np.float32(strength) * (moved - lab))


def sharpness(rgb: Floats, inside: NDArray[np.bool_]) -> float:
    """Mean step between neighbours that are both inside, in standard deviations of grey; 0 where all is one grey."""
    grey = rgb @ GREY
    if inside.sum() < 2 or grey[inside].std() < 1:
        return 0.0
    steps = [
        np.abs(np.diff(grey, axis=axis))[np.take(inside, range(1, n), axis) & np.take(inside, range(n - 1), axis)]
        for axis, n in enumerate(grey.shape)
    ]
    return float(np.concatenate(steps).mean() / grey[inside].std()) if any(map(len, steps)) else 0.0


def soften(rgb: Floats, alpha: Floats, ground: Floats, most: float) -> tuple[Floats, Floats]:
    """Blur an object and its edge just so far (px, at most `most`) that it is no sharper than `ground`."""
    limit = sharpness(ground, np.ones(ground.shape[:2], dtype=np.bool_))
    if not most or sharpness(rgb, alpha >= 0.5) <= limit or limit == 0:
        return rgb, alpha
    for sigma in np.linspace(0, most, BLURS)[1:]:
        blurred = _blurred(rgb, alpha, float(sigma))
        if sharpness(blurred[0], blurred[1] >= 0.5) <= limit:
            break
    return blurred


def _blurred(rgb: Floats, alpha: Floats, sigma: float) -> tuple[Floats, Floats]:
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(alpha, sigma)
    colours = gaussian_filter(rgb * alpha[..., None], (sigma, sigma, 0)) / np.maximum(soft, 1e-6)[..., None]
    return np.clip(colours, 0, 255), soft
