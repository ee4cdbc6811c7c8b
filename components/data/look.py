"""Paths -> what each file is: the part of ingest that runs in worker processes.

In: paths, and which images are known already. Out: a `Look` for each path, also for those that cannot be read. Never
waits on a pipe, never reads more than an image can need, never raises for a bad file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from components.data.images import BadImage
from components.data.scan import Scan, scan_image
from components.params import IngestParams

BYTES_PER_PIXEL = 8  # 16-bit RGBA without compression: no image that is accepted needs more


@dataclass(frozen=True, slots=True)
class Look:
    """`reason` is empty for a usable image; `scan` and `data` are there only for one that is not known yet."""

    image_id: str | None = None
    scan: Scan | None = None
    data: bytes = b""
    reason: str = ""
    detail: str = ""


def look_at(paths: Sequence[str], params: IngestParams, manifest: Path, stamp: int) -> list[Look]:
    """One Look for each path. Images in `manifest` are not decoded again; `stamp` tells its versions apart."""
    known = _known(manifest, stamp)
    return [_look(path, params, known) for path in paths]


@lru_cache(maxsize=1)
def _known(manifest: Path, stamp: int) -> frozenset[str]:  # noqa: ARG001 (stamp is a key of the cache)
    if not manifest.is_file():
        return frozenset()
    return frozenset(pq.read_table(manifest, columns=["image_id"])["image_id"].to_pylist())


def _look(path: str, params: IngestParams, known: frozenset[str]) -> Look:
    try:
        data = _read(path, most=params.max_pixels * BYTES_PER_PIXEL)
    except FileNotFoundError as error:
        return Look(reason="missing", detail=error.strerror or "")
    except OSError as error:
        return Look(reason="unreadable", detail=error.strerror or str(error))
    image_id = hashlib.sha256(data).hexdigest()
    if image_id in known:
        return Look(image_id)
    try:
        return Look(image_id, scan_image(data, params), data)
    except BadImage as error:
        return Look(image_id, reason=error.code, detail=error.detail)


def _read(path: str, most: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without NONBLOCK a FIFO waits for its writer
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        if found.st_size > most:
            raise OSError(f"{found.st_size:,} bytes; an image of ingest.max_pixels needs {most:,} at most")
        return file.read()
