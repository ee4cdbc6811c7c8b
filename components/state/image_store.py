"""The images of the prediction log, each once, under a name that is the sha256 of its bytes.

In: the bytes of a file. Out: its image_id, or the bytes again, checked. A file appears whole or not at all and is
never changed. Files are as durable as the log: they outlive `kill -9`; a power cut may cost the last ones, which
`read` then reports.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path


class ImageStoreError(RuntimeError):
    """The image is missing, or its bytes are no longer those that were stored."""


@dataclass(frozen=True)
class ImageStore:
    folder: Path

    def path(self, image_id: str) -> Path:
        """Where the image is, or would be."""
        return self.folder / image_id[:2] / image_id

    def put(self, data: bytes) -> str:
        """Keep `data` and return its image_id; raise OSError when the disk refuses. Safe from many threads."""
        image_id = hashlib.sha256(data).hexdigest()
        path = self.path(image_id)
        if not self._has(path, len(data)):
            self._write(path, data)
        return image_id

    def read(self, image_id: str) -> bytes:
        """The bytes of `image_id`; raise ImageStoreError when they are missing or damaged."""
        try:
            data = self.path(image_id).read_bytes()
        except OSError as error:
            raise ImageStoreError(f"The image {image_id} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(data).hexdigest() != image_id:
            raise ImageStoreError(f"The image {image_id} is damaged on disk ({len(data)} bytes).")
        return data

    def _has(self, path: Path, size: int) -> bool:
        try:
            return path.stat().st_size == size  # a power cut can leave an empty file behind
        except OSError:
            return False

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
