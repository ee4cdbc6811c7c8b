"""The small tables beside the image bytes: manifest, labels, quarantine, conflicts, splits; their rows and columns.

In: rows. Out: Parquet files written whole or not at all. Columns are fixed here and checked on reading, so that a
table of another version of visionloop is refused with its name instead of failing later. Image bytes are in
`components.data.shards`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.workspace import replace_file

# Statistics of one image; also what drift is measured on. Defined in components.data.scan.
STATISTICS = (
    "brightness",
    "contrast",
    "sharpness",
    "entropy",
    "saturation",
    "colour_cast",
    "aspect_ratio",
    "bytes_per_pixel",
)

MANIFEST = pa.schema(
    [
        ("image_id", pa.string()),  # sha256 of the file's bytes, hex
        ("shard", pa.string()),  # file name in data/shards
        ("row", pa.int32()),
        ("bytes", pa.int64()),
        ("source_path", pa.string()),  # as found, relative to the source; escaped where not UTF-8
        ("source_split", pa.string()),  # train, val or test where the source says so, else null
        ("origin", pa.string()),  # "source", "feedback" (labelled production image) or "synthetic" (made)
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),  # px, after EXIF orientation
        ("height", pa.int32()),
        ("orientation", pa.int8()),  # EXIF, 1 to 8
        ("phash", pa.uint64()),
        ("thumbnail", pa.binary(256)),  # 16x16 grey, row by row
        *[(name, pa.float32()) for name in STATISTICS],
        ("dark", pa.float32()),  # 99th percentile of brightness, 0..1
        ("bright", pa.float32()),  # 5th percentile of brightness, 0..1
    ]
)
LABELS = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.string()),
        ("kind", pa.string()),  # human, auto or synthetic
        ("source", pa.string()),  # file, folder or request that said so
        ("author", pa.string()),
        ("labelled_at", pa.timestamp("ms", tz="UTC")),
    ]
)
QUARANTINE = pa.schema(
    [
        ("path", pa.string()),
        ("reason", pa.string()),  # a code of components.data.images.BadImage or ingest
        ("detail", pa.string()),
        ("sha256", pa.string()),  # null where the file could not be read
    ]
)
CONFLICTS = pa.schema(
    [("image_id", pa.string()), ("label", pa.string()), ("path", pa.string())],
)
SPLITS = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),  # train, val, test, or "left_out" (nearly duplicates a test or val image)
        ("group", pa.string()),  # smallest image_id of its near-duplicates
        ("reason", pa.string()),  # source, assigned, feedback, group, leak or synthetic
    ]
)


class TableError(ValueError):
    """A table is missing or has other columns than this version of visionloop writes."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write `table` as Parquet, whole or not at all; equal tables give equal bytes."""
    with replace_file(path) as temporary:
        pq.write_table(table.combine_chunks(), temporary, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read `path`; raise TableError when it is missing or its columns are not those of `schema`."""
    if not path.is_file():
        raise TableError(f"No {path.name} in {path.parent}. Run `visionloop ingest FOLDER` first.")
    table = pq.read_table(path)
    if table.schema.names != schema.names:
        raise TableError(f"{path} has columns {table.schema.names}; expected {schema.names}. Ingest again.")
    return table.cast(schema)


def empty_table(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()


def table_so_far(path: Path, schema: pa.Schema) -> pa.Table:
    """As `read_table`, with no rows where the first ingest has yet to write the file."""
    return read_table(path, schema) if path.exists() else empty_table(schema)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables_version(*tables: Path) -> str:
    """12 hex digits that name the content of those tables that exist; of manifest, labels, splits: the data version."""
    digests = [file_digest(path) for path in tables if path.is_file()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
