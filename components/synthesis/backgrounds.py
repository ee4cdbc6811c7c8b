"""What objects are put on: pictures from a folder, or the workspace's own training images without their objects.

In: a folder, or `Original`s. Out: `Ground`s, opened one at a time. Of their own images those serve best that show no
object; where there are too few, objects are painted over with what lies around them, and images whose labels tell no
places are blurred until nothing can be recognised. Areas of classes stay with their images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.annotations import Thing, mask_of
from components.data.images import BadImage, to_rgb8
from components.data.sources.listing import files_below, is_picture, known_size
from components.params import IngestParams
from components.report import Report
from components.synthesis import SynthesisError
from components.synthesis.compose import Areas
from components.synthesis.layers import Picture
from components.synthesis.originals import Original

FEWEST_EMPTY = 10  # images without objects; with fewer, every made image would have the same few grounds
BLURRED = 12  # an image that may show anything is blurred by its short side / this, px
AROUND = 4  # px that are painted over around an object: boxes are rarely exact to the px

Scene = tuple[Picture, Areas | None]


@dataclass(frozen=True)
class Ground:
    """A background; `open` reads the picture, and the areas of its classes where they are known."""

    name: str
    open: Callable[[], Scene]


def read_backgrounds(folder: Path, smallest: int, most: int, params: IngestParams, report: Report) -> list[Ground]:
    """The pictures below `folder` whose sides have `smallest` px or more; raise SynthesisError where there is none."""
    if not folder.is_dir():
        raise SynthesisError(f"No folder of backgrounds at {folder}. Expected a folder of pictures without objects.")
    paths = [Path(entry.path) for entry in files_below(folder) if is_picture(entry.name)]
    if not paths:
        raise SynthesisError(f"No pictures in {folder}. Expected a folder of pictures without objects.")
    sizes = {path: known_size(path) for path in paths}
    small = [path for path, size in sizes.items() if size and min(size) < smallest]
    kept = [path for path, size in sizes.items() if size and path not in set(small)]
    if not kept:
        raise SynthesisError(
            f"All {len(paths)} pictures in {folder} are broken or too small ({len(small)} have a side under {smallest} "
            "px, which is image.size in params.yaml). Give larger backgrounds, or lower image.size."
        )
    if len(kept) < len(paths):
        report.line(f"backgrounds: {len(paths) - len(kept)} of {len(paths)} are broken or under {smallest} px")
    return [Ground(path.relative_to(folder).as_posix(), _from_file(path, most, params)) for path in kept]


def own_backgrounds(images: Sequence[Original], most: int) -> list[Ground]:
    """Grounds from `images`, real training images all of them; raise SynthesisError for none."""
    if not images:
        raise SynthesisError("There is no real training image to take as background. Run `visionloop ingest` first.")
    empty = [image for image in images if image.things() == ()]
    chosen = empty if len(empty) >= FEWEST_EMPTY else images
    return [Ground(image.image_id[:12], _from_original(image, most)) for image in chosen]


def cleared(picture: Picture, things: Sequence[Thing]) -> Picture:
    """`picture` with all `things` painted over by what lies around them."""
    hidden = np.zeros(picture.shape[:2], dtype=np.bool_)
    for thing in things:
        if thing.mask:
            hidden |= mask_of(thing.mask, (picture.shape[1], picture.shape[0]))
        else:
            left, top, right, bottom = thing.box
            rows = slice(max(0, int(top) - AROUND), int(np.ceil(bottom)) + AROUND)
            hidden[rows, max(0, int(left) - AROUND) : int(np.ceil(right)) + AROUND] = True
    return filled(picture, hidden)


def filled(picture: Picture, hidden: NDArray[np.bool_]) -> Picture:
    """The hidden pixels from a mean of the others that weighs near ones more (normalised convolution, Knutsson and
    Westin 1993), as narrow as reaches them."""
    from scipy.ndimage import gaussian_filter

    if not hidden.any() or hidden.all():
        return picture
    result, left = picture.astype(np.float32), hidden.copy()
    known = (~hidden).astype(np.float32)
    sigma = 2.0
    while left.any():
        weight = gaussian_filter(known, sigma)
        mean = gaussian_filter(picture * known[..., None], (sigma, sigma, 0)) / np.maximum(weight, 1e-12)[..., None]
        reached = left & (weight > 0.05)
        result[reached] = mean[reached]
        left &= ~reached
        sigma *= 1.5
    return result.round().astype(np.uint8)


def _from_file(path: Path, most: int, params: IngestParams) -> Callable[[], Scene]:
    def opened() -> Scene:
        try:
            return _limited(to_rgb8(path.read_bytes(), params).rgb, None, most)
        except (BadImage, OSError) as error:
            raise SynthesisError(f"The background {path} cannot be used: {error}. Mend or remove it.") from None

    return opened


def _from_original(image: Original, most: int) -> Callable[[], Scene]:
    def opened() -> Scene:
        picture, things, areas = image.picture(), image.things(), image.areas()
        if areas is None:
            picture = _unrecognisable(picture) if things is None else cleared(picture, things)
        return _limited(picture, areas, most)

    return opened


def _unrecognisable(picture: Picture) -> Picture:
    from scipy.ndimage import gaussian_filter

    sigma = min(picture.shape[:2]) / BLURRED
    return np.asarray(gaussian_filter(picture, (sigma, sigma, 0)))


def _limited(picture: Picture, areas: Areas | None, most: int) -> Scene:
    """Not longer than `most` px."""
    height, width = picture.shape[:2]
    scale = most / max(height, width)
    if scale >= 1:
        return picture, areas
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    masks = {
        name: np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for name, mask in (areas or {}).items()
    }
    return small, None if areas is None else masks
