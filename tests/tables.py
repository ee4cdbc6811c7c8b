"""Small manifests for tests: a row an image, told by the few columns that matter, the others filled in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from components.data.tables import LABELS, MANIFEST, STATISTICS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def image_row(name: str, looks_like: str = "", **values: object) -> dict[str, object]:
    """A row of the manifest for an image called `name`; two that look like the same are near-duplicates."""
    random = np.random.default_rng(list((looks_like or name).encode()))
    return {
        "image_id": hashlib.sha256(name.encode()).hexdigest(),
        "shard": "none.arrow",
        "row": 0,
        "bytes": 1000,
        "source_path": name,
        "source_split": None,
        "origin": "source",
        "format": "PNG",
        "mode": "RGB",
        "width": 32,
        "height": 32,
        "orientation": 1,
        "phash": int(random.integers(0, 2**63)),
        "thumbnail": random.bytes(256),
        **dict.fromkeys(STATISTICS, 0.5),
        "entropy": 6.0,
        "aspect_ratio": 1.0,
        "dark": 0.9,
        "bright": 0.1,
    } | values


def label_row(name: str, label: str) -> dict[str, object]:
    return {
        "image_id": hashlib.sha256(name.encode()).hexdigest(),
        "label": label,
        "kind": "human",
        "source": name,
        "author": "",
        "labelled_at": NOW,
    }


def manifest_of(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def labels_of(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=LABELS)
