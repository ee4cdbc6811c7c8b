"""Image bytes in append-only Arrow IPC files ("shards"), named by content and read through memory maps.

In: (image_id, bytes) pairs. Out: a file that is whole or absent, and never changes. Which image is in which row of
which shard is told by the manifest alone: a shard that no manifest row names is never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from components.workspace import replace_file

SCHEMA = pa.schema([("image_id", pa.string()), ("image", pa.large_binary())])


class ShardError(RuntimeError):
    """A shard named by the manifest is missing or cannot be read."""


def write_shard(folder: Path, images: Sequence[tuple[str, bytes]]) -> str:
    """Write `images`, in this order, as one shard in `folder`; return its file name.

    The name is the sha256 of the image_ids, each of which is the sha256 of its image: equal content, equal name.
    """
    ids = [image_id for image_id, _ in images]
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest() + ".arrow"
    batch = pa.record_batch([ids, [data for _, data in images]], schema=SCHEMA)
    with replace_file(folder / name) as temporary, pa.ipc.new_file(temporary, SCHEMA) as file:
        file.write_batch(batch)
    return name


class ShardReader:
    """Reads single images from the shards in `folder`; opens a shard when first asked, and pickles as its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns: dict[str, pa.Array] = {}

    def read(self, shard: str, row: int) -> bytes:
        """The bytes of the image in `row` of `shard`; raise ShardError when there is no such shard or row."""
        column = self._columns.get(shard)
        if column is None:
            column = self._columns[shard] = self._open(shard)
        if not 0 <= row < len(column):
            raise ShardError(f"Row {row} of shard {shard} was asked for; it has {len(column)} rows.")
        data: bytes = column[row].as_py()
        return data

    def _open(self, shard: str) -> pa.Array:
        try:
            return pa.ipc.open_file(pa.memory_map(str(self.folder / shard))).get_batch(0).column("image")
        except FileNotFoundError:
            raise ShardError(f"No shard {shard} in {self.folder}. Fetch it from the remote with `dvc pull`.") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"Shard {shard} in {self.folder} is damaged ({error}). Delete it, `dvc pull`.") from None

    def __reduce__(self) -> tuple[type[ShardReader], tuple[Path]]:
        return ShardReader, (self.folder,)
