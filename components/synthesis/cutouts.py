"""Objects cut out of their pictures: RGBA with the edge in alpha, read from a folder of labels.

In: DIR/<label>/*.png (or WebP) with transparency. Out: `Cutout`s, cropped to what is opaque. Objects of the workspace's
own images are cut in `harvest`. A file that cannot be used stops the run: whoever made the cut-outs can mend them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from components.data.sources import clean_label
from components.data.sources.listing import entries, files_below
from components.params import IngestParams
from components.synthesis import SynthesisError

Rgba = NDArray[np.uint8]  # (height, width, 4); colours are not multiplied by alpha
FORMATS = {".png": "PNG", ".webp": "WEBP"}
OPAQUE = 128  # alpha from which a pixel belongs to the object
NAMED = 5  # files or labels in a message


@dataclass(frozen=True)
class Cutout:
    """One object; `size` is its longest side / the short side of the picture that it was cut from, if known."""

    label: str
    rgba: Rgba
    name: str
    by_box: bool = False  # alpha is the box of the object with some of its ground, not its outline
    size: float | None = None


def read_cutouts(folder: Path, params: IngestParams) -> list[Cutout]:
    """All cut-outs below `folder`, by label and name; raise SynthesisError where there are none or one is unusable."""
    if not folder.is_dir():
        raise SynthesisError(f"No folder of cut-outs at {folder}. {EXPECTED}")
    named = [(clean_label(entry.name), path) for entry in entries(folder)[0] for path in _pictures(Path(entry.path))]
    if not named:
        raise SynthesisError(f"No cut-outs in {folder}: no folder in it has a PNG or WebP. {EXPECTED}")
    return [read_cutout(path, label, params) for label, path in named]


EXPECTED = "Expected DIR/<label>/*.png with transparent pixels around each object."


def read_cutout(path: Path, label: str, params: IngestParams) -> Cutout:
    """The object in one file; raise SynthesisError for a file without transparency, or with nothing else."""
    rgba = _opened(path, params)
    name = f"{label}/{path.name}"
    if (rgba[..., 3] == 255).all():
        raise SynthesisError(f"{path} has no transparent pixel, so the object in it has no outline. {EXPECTED}")
    return Cutout(label, _cropped(rgba, path), name)


def refuse_unknown(cutouts: Sequence[Cutout], known: Collection[str]) -> None:
    """Raise SynthesisError for labels that no real image has: a class must be judged on real images."""
    unknown = sorted({cutout.label for cutout in cutouts} - set(known))
    if unknown:
        raise SynthesisError(
            f"Cut-outs of {', '.join(map(repr, unknown[:NAMED]))}, of which the dataset has no real image (it knows "
            f"{', '.join(map(repr, sorted(known)[:NAMED]))}). Made images only train, so nothing could judge such a "
            "class: ingest real images of it first, or rename or remove its folder."
        )


def of_classes(cutouts: Sequence[Cutout], classes: Sequence[str]) -> list[Cutout]:
    """Those of `synthesize.classes`, all if it is empty; raise SynthesisError for a class without any."""
    kept = [cutout for cutout in cutouts if not classes or cutout.label in classes]
    missing = sorted(set(classes) - {cutout.label for cutout in kept})
    if missing:
        raise SynthesisError(
            f"synthesize.classes names {', '.join(map(repr, missing[:NAMED]))}, of which there is no cut-out. Add "
            "some, or take the class out of params.yaml."
        )
    return kept


def _pictures(folder: Path) -> Iterator[Path]:
    return (Path(entry.path) for entry in files_below(folder) if Path(entry.name).suffix.lower() in FORMATS)


def _opened(path: Path, params: IngestParams) -> Rgba:
    try:
        with Image.open(path, formats=tuple(FORMATS.values())) as image:
            if image.width * image.height > params.max_pixels:
                raise SynthesisError(f"{path} has {image.width} x {image.height} px, over ingest.max_pixels.")
            return np.asarray(image.convert("RGBA"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise SynthesisError(f"{path} cannot be read as a picture: {error}. Mend or remove it.") from None


def _cropped(rgba: Rgba, path: Path) -> Rgba:
    """Without the empty rows and columns around the object."""
    opaque = rgba[..., 3] >= OPAQUE
    if not opaque.any():
        raise SynthesisError(f"{path} is transparent all over. Mend or remove it.")
    rows, columns = (np.flatnonzero((rgba[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
