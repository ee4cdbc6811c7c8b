"""A prefix of an S3 bucket.

In: `s3://bucket/prefix`; credentials and endpoint are boto3's own. Out: what a folder with its objects would give.
Objects are fetched in parallel into a cache that later runs use again, so that a download that was cut off goes on
where it stopped (`components.storage`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.sources import Found, Read, SourceError
from components.data.sources.tree import Tree
from components.storage import StorageError, fetch_all


@dataclass(frozen=True)
class BucketSource:
    address: str
    read: Read
    format: str | None
    cache: Path

    def files(self) -> Iterator[Found]:
        """See `Source`; the files that are found lie in the cache."""
        place = self.cache / f"s3-{hashlib.sha256(self.address.encode()).hexdigest()[:12]}"
        tree = Tree.planted(place / (self.address.rstrip("/").rpartition("/")[2] or "s3"), self.address.rstrip("/"))
        try:
            found = fetch_all(self.address, place / "objects")
        except StorageError as error:
            raise SourceError(f"{error}. Nothing was added; what was fetched is kept for the next try.") from None
        if not found:
            raise SourceError(f"{self.address}: found no objects; expected some under this prefix.")
        for name, file in found.items():
            tree.add(name, file)
        yield from tree.files(self.read, self.format, place)
