"""One look at each image: identity, perceptual hash, thumbnail and the statistics that checks and drift rest on.

In: the bytes of one image, decoded once. Out: `Scan`, every column of the manifest that the bytes alone determine.
Statistics of the pixels are taken after reducing the picture to a short side of 112 px (smaller ones stay as they
are): about what a model sees, comparable between cameras, and cheap beside the decoding.
"""

from __future__ import annotations

import builtins
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.images import to_rgb8
from components.params import IngestParams

SHORT_SIDE = 112  # px
LEVELS = np.arange(256.0)


@dataclass(frozen=True)
class Scan:
    """Names and units are those of `components.data.tables.MANIFEST`."""

    image_id: str
    bytes: int
    format: str
    mode: str
    width: int
    height: int
    orientation: int
    phash: int
    thumbnail: builtins.bytes
    brightness: float
    contrast: float
    sharpness: float
    entropy: float
    saturation: float
    colour_cast: float
    aspect_ratio: float
    bytes_per_pixel: float
    dark: float
    bright: float


def scan_image(data: bytes, params: IngestParams) -> Scan:
    """Decode `data` and measure it; raise `BadImage` when it is refused."""
    decoded = to_rgb8(data, params)
    width, height = decoded.picture.size
    pixels = _pixels(decoded.picture)
    small = pixels.small.convert("L")
    dark, bright = _percentiles(pixels, 0.99, 0.05)
    return Scan(
        image_id=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=decoded.format,
        mode=decoded.mode,
        width=width,
        height=height,
        orientation=decoded.orientation,
        phash=_phash(np.asarray(small)),
        thumbnail=small.reduce(2).tobytes(),
        **_of_pixels(pixels),
        **_of_file(width, height, len(data)),
        dark=dark,
        bright=bright,
    )


def statistics(rgb: NDArray[np.uint8], n_bytes: int) -> dict[str, float]:
    """`components.data.tables.STATISTICS` of a picture (height, width, 3) that came in a file of `n_bytes`.

    brightness and contrast: mean and standard deviation of luma, 0..1; entropy: of the histogram of luma, bits;
    sharpness: standard deviation of the Laplacian of luma, in units of luma; saturation: share of the brightest
    channel that the darkest one lacks, 0..1; colour_cast: spread of the means of R, G and B, 0..1 (both of the
    picture in 32x32, where noise has no colour); aspect_ratio: width / height; bytes_per_pixel: of the file.
    """
    height, width = rgb.shape[:2]
    return _of_pixels(_pixels(Image.fromarray(rgb))) | _of_file(width, height, n_bytes)


class Pixels(NamedTuple):
    """What is measured: luma at SHORT_SIDE, the share of its pixels at each of 256 levels, and RGB in 32x32."""

    luma: NDArray[np.uint8]
    shares: NDArray[np.float64]
    small: Image.Image


def _pixels(picture: Image.Image) -> Pixels:
    factor = min(picture.size) / SHORT_SIDE
    if factor > 1:
        size = (round(picture.width / factor), round(picture.height / factor))
        picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    luma = np.asarray(picture.convert("L"))
    shares = np.bincount(luma.ravel(), minlength=256) / luma.size
    return Pixels(luma, shares, picture.resize((32, 32), Image.Resampling.BOX))


def _of_pixels(pixels: Pixels) -> dict[str, float]:
    mean = float(pixels.shares @ LEVELS)
    seen = pixels.shares[pixels.shares > 0]
    red, green, blue = np.asarray(pixels.small).transpose(2, 0, 1)
    highest = int(np.maximum(np.maximum(red, green), blue).sum())
    lowest = int(np.minimum(np.minimum(red, green), blue).sum())
    sums = [int(band.sum()) for band in (red, green, blue)]
    return {
        "brightness": mean / 255,
        "contrast": math.sqrt(pixels.shares @ (LEVELS - mean) ** 2) / 255,
        "sharpness": _sharpness(pixels.luma),
        "entropy": abs(float(seen @ np.log2(seen))),  # abs: a blank picture has 0.0, not -0.0
        "saturation": 1 - lowest / highest if highest else 0.0,
        "colour_cast": (max(sums) - min(sums)) / red.size / 255,
    }


def _of_file(width: int, height: int, n_bytes: int) -> dict[str, float]:
    return {"aspect_ratio": width / height, "bytes_per_pixel": n_bytes / (width * height)}


def _percentiles(pixels: Pixels, *shares: float) -> list[float]:
    """For each share of the pixels, the lowest luma, 0..1, that it does not exceed."""
    levels: list[int] = np.searchsorted(np.cumsum(pixels.shares), np.array(shares) - 1e-9).tolist()
    return [level / 255 for level in levels]


def _sharpness(grey: NDArray[np.uint8]) -> float:
    luma = grey.astype(np.int16)
    laplacian = 4 * luma[1:-1, 1:-1]
    for neighbour in (luma[:-2, 1:-1], luma[2:, 1:-1], luma[1:-1, :-2], luma[1:-1, 2:]):
        laplacian -= neighbour
    mean = int(laplacian.sum()) / laplacian.size
    mean_square = int(np.square(laplacian, dtype=np.int32).sum()) / laplacian.size
    return math.sqrt(mean_square - mean**2) / 255


def _phash(small: NDArray[np.uint8]) -> int:
    """64 bits: which of the 8x8 lowest frequencies of a 32x32 picture lie above their median (pHash, Zauner 2010)."""
    cosines = _cosines()
    low = np.rint(cosines @ small.astype(np.float64) @ cosines.T)  # whole numbers: rounding must not flip a bit
    ranked = np.sort(low, axis=None)
    above = low > (ranked[31] + ranked[32]) / 2
    return int.from_bytes(np.packbits(above).tobytes(), "big")


@cache
def _cosines() -> NDArray[np.float64]:
    """The first 8 rows of the 32-point discrete cosine transform (DCT-II)."""
    return np.cos(np.pi / 32 * np.outer(np.arange(8), np.arange(32) + 0.5))
