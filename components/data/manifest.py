"""New images -> full shards, and the manifest rows that name them.

In: images that the manifest does not have, one at a time. Out: shards as they fill, and at the end the manifest.
A shard that the manifest does not name comes from a run that did not end; it is never read, and swept away here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from components.data.scan import Scan
from components.data.shards import write_shard
from components.data.sources import Found
from components.data.tables import MANIFEST, empty_table, table_so_far, write_table

PROTECTED = ("test", "val", "train", None)  # of two copies, the one in the earlier of these splits counts
MB = 1_000_000


class GrowingManifest:
    """The manifest at `path` with the images that this run adds; their bytes go into `shards`."""

    def __init__(self, path: Path, shards: Path, shard_mb: int) -> None:
        self.path, self.shards, self.shard_bytes = path, shards, shard_mb * MB
        self.tables = [table_so_far(path, MANIFEST)]
        self.known = frozenset(self.tables[0]["image_id"].to_pylist())
        self.splits: dict[str, str | None] = {}  # of the new images
        self._start_shard()

    def take(self, found: Found, image_id: str, scan: Scan | None, data: bytes) -> None:
        """Add an image that is new, and write its shard when that is full; of a copy only a safer split counts."""
        if image_id in self.splits:
            self.splits[image_id] = min(self.splits[image_id], found.split, key=PROTECTED.index)
        elif image_id not in self.known and scan is not None:
            self.splits[image_id] = found.split
            self._images.append((image_id, data))
            self._rows.append({**vars(scan), "source_path": found.name, "origin": found.origin})
            self._bytes += len(data)
            if self._bytes >= self.shard_bytes:
                self._end_shard()

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Width and height, px, of the images that the manifest had before this run."""
        columns = (self.tables[0][name].to_pylist() for name in ("image_id", "width", "height"))
        return {image_id: (width, height) for image_id, width, height in zip(*columns, strict=True)}

    def write_shards(self) -> None:
        """Write the last shard, full or not."""
        if self._images:
            self._end_shard()

    def write(self) -> None:
        """Write the manifest; call it last of all, for with it the new images are there."""
        if self.splits or not self.path.exists():
            write_table(self._table(), self.path)

    def sweep(self) -> None:
        """Remove what the manifest on disk does not name: half-written files, and shards of runs that did not end."""
        named = set(table_so_far(self.path, MANIFEST)["shard"].to_pylist())
        for path in [*self.shards.glob("*"), *self.path.parent.glob(".*.parquet.*.tmp")]:
            if path.name not in named:
                path.unlink()

    def _start_shard(self) -> None:
        self._images: list[tuple[str, bytes]] = []
        self._rows: list[dict[str, object]] = []
        self._bytes = 0

    def _end_shard(self) -> None:
        name = write_shard(self.shards, self._images)
        rows = [{**row, "shard": name, "row": number} for number, row in enumerate(self._rows)]
        self.tables.append(pa.Table.from_pylist(rows, schema=MANIFEST))
        self._start_shard()

    def _table(self) -> pa.Table:
        before, *new = self.tables
        added = pa.concat_tables([empty_table(MANIFEST), *new])
        splits = pa.array(self.splits.values(), pa.string())
        added = added.set_column(MANIFEST.get_field_index("source_split"), "source_split", splits)
        return pa.concat_tables([before, added])
