"""Mask PNGs beside images: the value of a pixel is the number of its class.

In: a folder with images/ and masks/ that mirror each other, and classes.txt or classes.csv. Out: a `Found` for each
picture; a missing one for each mask without picture. The value 255, and classes called "ignore", "unlabelled", "void"
or "-...", are not judged. Splits come from folders named train, val and test, or from ImageSets/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import Annotation, LabelError, is_ignored, run_lengths
from components.data.sources import Found, Read, SourceError, heard, printable
from components.data.sources.class_names import ClassNames, class_names
from components.data.sources.listing import files_below, is_picture, lists_of_splits, split_in

IMAGES = ("images", "JPEGImages", "image", "img", "imgs")
MASKS = ("masks", "SegmentationClass", "mask", "segmentations", "annotations")
NOT_JUDGED = 255
MODES = ("P", "L", "1", "I;16", "I")  # of Pillow, whose pixels are one number
MOST_PIXELS = 200_000_000


@dataclass(frozen=True)
class MaskSource:
    root: Path
    read: Read

    def files(self) -> Iterator[Found]:
        """See `Source`."""
        pictures, masks = self._names
        if not pictures or not masks:
            raise SourceError(f"{printable(str(self.root))}: expected pictures in images/ and PNGs in masks/.")
        for stem, name in pictures.items():
            yield self._found(stem, name, masks.get(stem))
        for stem in sorted(masks.keys() - pictures.keys()):
            error = LabelError("missing", "there is no picture of this name")
            path, said_by = Path(f"{self.root / masks[stem]}#picture"), f"{self.root.name}/{masks[stem]}"
            yield heard(path, f"picture of {masks[stem]}", error, self.read, said_by)

    @cached_property
    def _names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Pictures and masks, by path with the folder images/ or masks/ left out and without suffix."""
        found: tuple[dict[str, str], dict[str, str]] = {}, {}
        start = len(str(self.root)) + 1
        for entry in files_below(self.root):
            name = entry.path[start:]
            for folders, rows in zip((IMAGES, MASKS), found, strict=True):
                if is_picture(name) and (stem := _without(name, folders)):
                    rows[stem] = name
        return found

    @cached_property
    def _classes(self) -> ClassNames:
        found = (class_names(self.root / folder) for folder in ("", *MASKS))
        return next((each for each in found if each.path), ClassNames())

    @cached_property
    def _splits(self) -> Mapping[str, str]:
        return lists_of_splits(self.root)

    def _found(self, stem: str, name: str, mask: str | None) -> Found:
        said: Annotation | LabelError
        try:
            said = (
                said_in(self.root / mask, self._classes) if mask else LabelError("no_label", "there is no mask for it")
            )
        except LabelError as error:
            said = error
        split = self._splits.get(PurePath(stem).name) or split_in(Path(name).parts[:-1])
        return heard(self.root / name, name, said, self.read, f"{self.root.name}/{mask or name}", split)


def said_in(path: Path, classes: ClassNames) -> Annotation:
    """Read one mask; raise LabelError for a file that is none, and for values that no class has."""
    values = _values(path)
    present, counts = np.unique(values, return_counts=True)
    names = {int(value): classes.name(int(value)) for value in present if value != NOT_JUDGED}
    unknown = [
        f"{value} ({count} px)"
        for value, count in zip(present, counts, strict=True)
        if names.get(int(value), "") is None
    ]
    if unknown:
        raise LabelError("bad_mask", f"found values {', '.join(unknown[:5])}, expected those of {classes}")
    judged = {name: value for value, name in names.items() if name and not is_ignored(name)}
    areas = {name: run_lengths(values == value) for name, value in sorted(judged.items())}
    return Annotation(labels=tuple(areas), areas=areas, size=(values.shape[1], values.shape[0]))


def _values(path: Path) -> NDArray[np.generic]:
    """(height, width)"""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in MODES and not image.mode.startswith("I;16"):
                expected = "palette or grey, where a value is the number of a class"
                raise LabelError("bad_mask", f"found colours ({image.mode}), expected {expected}")
            if image.width * image.height > MOST_PIXELS:
                raise LabelError(
                    "bad_mask", f"{image.width} x {image.height} px; at most {MOST_PIXELS:,} pixels are read"
                )
            return np.asarray(image).astype(np.int32)
    except LabelError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise LabelError("bad_mask", f"cannot be read: {error}") from None


def _without(name: str, folders: tuple[str, ...]) -> str:
    """`name` without suffix and without the one of `folders` in it; empty where there is none."""
    parts = PurePath(name).with_suffix("").parts
    place = next((place for place, part in enumerate(parts[:-1]) if part in folders), None)
    return "" if place is None else "/".join([*parts[:place], *parts[place + 1 :]])
