"""Tables and shards -> `ImageSet`: ids, labels, splits and the pixels of every image as one uint8 array.

Each image is decoded and brought to the model's square once, into one file of the workspace's pixel cache, which every
stage then maps into memory; images that an earlier cache holds are copied from it. Validation images lie first, then
train, then test, so that what the stages ask for (train + val, train + test) is a stretch of the file and costs no
memory; val + test alone is copied. Augmentation and normalisation are left to `components.model`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.tables import LABELS, MANIFEST, SPLITS, read_table, tables_version
from components.workspace import Workspace, replace_folder

if TYPE_CHECKING:
    from components.launcher import Launcher
    from components.params import ImageParams, IngestParams
    from components.report import Report

ORDER = ("val", "train", "test")
PART = 256  # images decoded by one call of a worker

Pixels = NDArray[np.uint8]


class DatasetError(ValueError):
    """There are no images to work with, or one of them no longer decodes; the message says what to do."""


@dataclass(frozen=True)
class ImageSet:
    """Images in rows: the i-th id, label, split and pixels belong together."""

    ids: list[str]
    labels: list[str]
    splits: list[str]
    pixels: Pixels  # (N, 3, S, S), RGB, 0..255, read-only where it maps the cache
    sizes: list[tuple[int, int]]  # width and height of the upright originals, px
    fit: Literal["stretch", "crop"] = "stretch"  # how the originals became squares
    groups: list[str] = field(default_factory=list)  # near-duplicates have one name; empty: every image is alone
    kinds: list[str] = field(default_factory=list)  # of the labels: human, auto or synthetic; empty: all human
    data_version: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, *splits: str) -> ImageSet:
        """The images of `splits`; without copying pixels where they lie side by side."""
        rows = [row for row, split in enumerate(self.splits) if split in splits]
        side_by_side = bool(rows) and rows[-1] - rows[0] + 1 == len(rows)
        return ImageSet(
            [self.ids[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.splits[row] for row in rows],
            self.pixels[rows[0] : rows[-1] + 1] if side_by_side else self.pixels[rows],
            [self.sizes[row] for row in rows],
            self.fit,
            [self.groups[row] for row in rows] if self.groups else [],
            [self.kinds[row] for row in rows] if self.kinds else [],
            self.data_version,
        )


@dataclass(frozen=True)
class _Row:
    image_id: str
    label: str
    split: str
    shard: str
    row: int
    size: tuple[int, int]
    group: str
    kind: str


@dataclass(frozen=True)
class _Part:
    """Rows to decode into `pixels`, each with its place there."""

    shards: Path
    pixels: Path
    rows: list[tuple[int, _Row]]
    image: ImageParams
    ingest: IngestParams


def load_images(
    workspace: Workspace,
    image: ImageParams,
    ingest: IngestParams,
    splits: Sequence[str],
    launcher: Launcher,
    report: Report,
) -> ImageSet:
    """The images of `splits` that have a label, by split and then by id; raise DatasetError when there is none."""
    rows = _rows(workspace)
    if not any(row.split in splits for row in rows):
        raise DatasetError(f"No labelled image is in {' or '.join(splits)}. Run `visionloop stage split`.")
    folder = workspace.pixels / _name(rows, image)
    if not folder.is_dir():
        _build(folder, rows, workspace, image, ingest, launcher, report)
    everything = ImageSet(
        [row.image_id for row in rows],
        [row.label for row in rows],
        [row.split for row in rows],
        np.load(folder / "pixels.npy", mmap_mode="r"),
        [row.size for row in rows],
        image.fit,
        [row.group for row in rows],
        [row.kind for row in rows],
        tables_version(workspace.manifest, workspace.labels, workspace.splits),
    )
    return everything.of(*splits)


def _rows(workspace: Workspace) -> list[_Row]:
    manifest = (
        read_table(workspace.manifest, MANIFEST).select(["image_id", "shard", "row", "width", "height"]).to_pydict()
    )
    labels = read_table(workspace.labels, LABELS).select(["image_id", "label", "kind"]).to_pydict()
    splits = read_table(workspace.splits, SPLITS).select(["image_id", "split", "group"]).to_pydict()
    label = dict(zip(labels["image_id"], labels["label"], strict=True))
    kind = dict(zip(labels["image_id"], labels["kind"], strict=True))
    split = dict(zip(splits["image_id"], splits["split"], strict=True))
    group = dict(zip(splits["image_id"], splits["group"], strict=True))
    found = [
        _Row(name, label[name], split[name], shard, row, (width, height), group[name], kind[name])
        for name, shard, row, width, height in zip(*manifest.values(), strict=True)
        if name in label and split.get(name) in ORDER
    ]
    return sorted(found, key=lambda each: (ORDER.index(each.split), each.image_id))


def _name(rows: Sequence[_Row], image: ImageParams) -> str:
    """Same images in the same order, same square, same decoder: same name."""
    content = "\n".join(row.image_id for row in rows)
    return f"{_kind(image)}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _kind(image: ImageParams) -> str:
    import PIL

    from components.data import images

    decoder = hashlib.sha256(Path(images.__file__).read_bytes() + PIL.__version__.encode()).hexdigest()[:8]
    return f"{decoder}-{image.fit}-{image.size}"


def _build(
    folder: Path,
    rows: Sequence[_Row],
    workspace: Workspace,
    image: ImageParams,
    ingest: IngestParams,
    launcher: Launcher,
    report: Report,
) -> None:
    with replace_folder(folder) as temporary:
        pixels = _reserve(temporary / "pixels.npy", (len(rows), 3, image.size, image.size))
        (temporary / "ids.txt").write_text("\n".join(row.image_id for row in rows), encoding="ascii")
        missing = _copy_known(pixels, rows, folder)
        parts = [
            _Part(workspace.shards, temporary / "pixels.npy", missing[start : start + PART], image, ingest)
            for start in range(0, len(missing), PART)
        ]
        # Workers take a second to start: a few parts are sooner done here.
        work: Iterator[int] = launcher.map_shards(_decode, parts) if len(parts) > 2 else map(_decode, parts)
        done = 0
        for count in work:
            done += count
            report.progress(done, len(missing), "decode images")
    _prune(folder)


def _reserve(path: Path, shape: tuple[int, ...]) -> Pixels:
    """A .npy file of zeros whose disk space is taken at once: a disk that fills later would kill the process."""
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return pixels


def _copy_known(pixels: Pixels, rows: Sequence[_Row], folder: Path) -> list[tuple[int, _Row]]:
    """Copy what the newest earlier cache of this kind holds; return the rows that it lacks, with their places."""
    earlier = next(iter(_caches(folder)), None)
    known: dict[str, int] = {}
    if earlier is not None:
        known = {name: row for row, name in enumerate((earlier / "ids.txt").read_text(encoding="ascii").split())}
        old = np.load(earlier / "pixels.npy", mmap_mode="r")
        for place, row in enumerate(rows):
            if row.image_id in known:
                pixels[place] = old[known[row.image_id]]
    return [(place, row) for place, row in enumerate(rows) if row.image_id not in known]


def _caches(folder: Path) -> list[Path]:
    """Finished caches of the same square and decoder as `folder`, but not itself; the newest first."""
    kind = folder.name.rpartition("-")[0]
    found = [path for path in folder.parent.glob(f"{kind}-*") if path != folder]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _prune(folder: Path) -> None:
    """Keep `folder` and the one before it; a stage that still maps another keeps its pages until it ends."""
    keep = {folder, *_caches(folder)[:1]}
    for path in folder.parent.iterdir():
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _decode(part: _Part) -> int:
    """Decode the rows of `part` into their places; return their number. Runs in a worker."""
    from components.data.images import BadImage, fit_square, to_rgb8
    from components.data.shards import ShardReader

    reader = ShardReader(part.shards)
    pixels = np.load(part.pixels, mmap_mode="r+")
    for place, row in part.rows:
        try:
            decoded = to_rgb8(reader.read(row.shard, row.row), part.ingest)
        except BadImage as error:
            raise DatasetError(
                f"Image {row.image_id} of {row.shard} no longer decodes ({error.code}: {error.detail}). If `ingest:` "
                "in params.yaml became stricter, undo that, or ingest into a new workspace."
            ) from None
        pixels[place] = fit_square(decoded.rgb, part.image.size, part.image.fit)
    return len(part.rows)
