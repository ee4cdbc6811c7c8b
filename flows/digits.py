"""scikit-learn's 1,797 handwritten digits as photographs: pools that share no source, a camera that can change.

In: a seed. Out: PNG bytes with the true label. The photographs are made (8x8 scans enlarged, moved, lit and grained
a little differently each time); the handwriting is real. Nothing is downloaded. The story told with them is
`flows.demo`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 32  # px
INK = 24  # px, side of the enlarged 8x8 scan
# Source images in each pool; the rest of the 1,797 are in the last.
POOLS = {"training": 900, "good": 300, "drifted_labelled": 300, "drifted_unlabelled": 297}


@dataclass(frozen=True)
class Photo:
    name: str  # source image and take, such as 0123-1.png
    label: str
    png: bytes


def pools(seed: int) -> dict[str, NDArray[np.int64]]:
    """Numbers of the source images in each pool; every source image is in exactly one, every digit in each alike.

    A pool in which one digit is twice as frequent would be a drift of its own.
    """
    from sklearn.datasets import load_digits

    labels = load_digits().target
    order = np.random.default_rng(seed).permutation(len(labels))
    by_label = order[np.argsort(labels[order], kind="stable")]
    place = np.empty(len(labels))  # of a source among those of its label, 0..1
    for label in np.unique(labels):
        of_label = labels[by_label] == label
        place[of_label] = (np.arange(of_label.sum()) + 0.5) / of_label.sum()
    spread = by_label[np.argsort(place, kind="stable")]
    ends = np.cumsum(list(POOLS.values()))
    return dict(zip(POOLS, np.split(spread, ends[:-1]), strict=True))


def photograph(sources: Sequence[int] | NDArray[np.int64], takes: int, changed: bool, seed: int) -> list[Photo]:
    """`takes` pictures of each source image, in shuffled order, by the good camera or by the changed one."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    random = np.random.default_rng([seed, int(changed)])
    photos = []
    for take in range(takes):
        for source in sources:
            image = _good_camera(digits.images[source], random)
            png = _encoded(_changed_camera(image) if changed else image)
            photos.append(Photo(f"{source:04d}-{take}.png", str(digits.target[source]), png))
    return [photos[place] for place in random.permutation(len(photos))]


def write_folder(photos: Sequence[Photo], folder: Path) -> Path:
    """`folder`/<label>/<name> for each photo, the layout that `visionloop ingest` takes."""
    for photo in photos:
        path = folder / photo.label / photo.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.png)
    return folder


def _good_camera(scan: NDArray[np.float64], random: np.random.Generator) -> Image.Image:
    """White ink on dark paper: a pixel or two off centre, slightly lit and grained."""
    ink = Image.fromarray((scan * (255 / 16)).astype(np.uint8)).resize((INK, INK), Image.Resampling.BICUBIC)
    paper = Image.new("L", (SIDE, SIDE))
    x, y = (SIDE - INK) // 2 + random.integers(-2, 3, 2)
    paper.paste(ink, (int(x), int(y)))
    moved = paper.rotate(random.uniform(-4, 4), Image.Resampling.BILINEAR)
    light = random.normal(1.0, 0.05)
    grained = np.asarray(moved, dtype=np.float64) * 0.8 * light + 24 + random.normal(0, 6, (SIDE, SIDE))
    return Image.fromarray(grained.clip(0, 255).astype(np.uint8))


def _changed_camera(image: Image.Image) -> Image.Image:
    """The same scene inverted, tilted by 15 degrees, out of focus and darker."""
    tilted = ImageOps.invert(image).rotate(15, resample=Image.Resampling.BILINEAR, fillcolor=230)
    blurred = tilted.filter(ImageFilter.GaussianBlur(0.8))
    return blurred.point(lambda value: int(value * 0.6))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
