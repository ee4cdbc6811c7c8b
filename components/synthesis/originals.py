"""The workspace's own training images, one at a time, as the stuff that others are made of.

In: tables and shards. Out: decoded images with their labels, in an order drawn from a seed. Images of val and test, and
images that were made themselves, are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import LabelError, Thing, areas_in, mask_of, things_in
from components.data.images import to_rgb8
from components.data.shards import ShardReader
from components.data.tables import LABELS, MANIFEST, SPLITS, read_table
from components.params import IngestParams
from components.synthesis.layers import Picture
from components.workspace import Workspace


@dataclass(frozen=True)
class Original:
    """A real training image; its bytes are read when asked for."""

    image_id: str
    label: str
    shard: str
    row: int
    shards: ShardReader
    ingest: IngestParams

    def picture(self) -> Picture:
        return to_rgb8(self.shards.read(self.shard, self.row), self.ingest).rgb

    def things(self) -> tuple[Thing, ...] | None:
        """The objects that the label tells, () for an image of the background, None where it tells no places."""
        try:
            return things_in(self.label) if self.label.startswith(("[{", "[]")) else None
        except LabelError:
            return None

    def areas(self) -> dict[str, NDArray[np.bool_]] | None:
        """Mask of each class, None where the label tells none."""
        try:
            runs, size = areas_in(self.label)
        except LabelError:
            return None
        return {name: mask_of(each, size) for name, each in runs.items()}


def originals(workspace: Workspace, ingest: IngestParams, seed: int) -> list[Original]:
    """All real training images, in an order drawn from `seed`."""
    found = list(_originals(workspace, ingest))
    return [found[place] for place in np.random.default_rng(seed).permutation(len(found))]


def _originals(workspace: Workspace, ingest: IngestParams) -> Iterator[Original]:
    labels = read_table(workspace.labels, LABELS).select(["image_id", "label", "kind"]).to_pylist()
    label = {row["image_id"]: row["label"] for row in labels if row["kind"] != "synthetic"}
    splits = read_table(workspace.splits, SPLITS).select(["image_id", "split"]).to_pylist()
    training = {row["image_id"] for row in splits if row["split"] == "train"}
    manifest = read_table(workspace.manifest, MANIFEST).select(["image_id", "shard", "row"]).sort_by("image_id")
    reader = ShardReader(workspace.shards)
    for image_id, shard, row in zip(*(manifest[name].to_pylist() for name in manifest.column_names), strict=True):
        if image_id in label and image_id in training:
            yield Original(image_id, label[image_id], shard, row, reader, ingest)
