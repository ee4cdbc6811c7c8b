"""Made images in the dataset: which there are, and how those that are of no use leave it again.

In: the workspace's tables. Out: the same, without the images that were withdrawn; their bytes stay in DVC's store, and
making them again brings them back. Real images are never touched. DVC is left to the caller.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.data.tables import LABELS, MANIFEST, read_table, table_so_far, write_table
from components.workspace import Workspace


def made_images(labels: Path) -> frozenset[str]:
    """image_id of every image whose label is synthetic."""
    table = table_so_far(labels, LABELS)
    return frozenset(table.filter(pc.equal(table["kind"], "synthetic"))["image_id"].to_pylist())


def withdraw(workspace: Workspace, keep: Collection[str]) -> int:
    """Take all made images but those in `keep` out of manifest and labels; return how many left.

    The manifest is written first: a label without an image, which a run that is cut off leaves, counts for nothing.
    """
    gone = pa.array(sorted(made_images(workspace.labels) - set(keep)), pa.string())
    if not len(gone):
        return 0
    for path, schema in ((workspace.manifest, MANIFEST), (workspace.labels, LABELS)):
        table = read_table(path, schema)
        write_table(table.filter(pc.invert(pc.is_in(table["image_id"], gone))), path)
    return len(gone)
