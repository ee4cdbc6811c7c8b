"""A .zip or .tar of images and annotations.

In: the archive. Out: what a folder with its files would give. Members are streamed, one after the other, into files
called by the digest of their content; the names of the archive become links to these (`tree`). Nothing is unpacked by
the archive's own rules: a path that leads out, a link, a device, a second member of the same name, an encrypted one, or
more files or bytes than images can need refuse the whole archive.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components.data.sources import Found, Read, SourceError, printable
from components.data.sources.tree import Tree

MOST_MEMBERS = 5_000_000
MOST_TIMES = 50  # unpacked bytes for each byte of the archive; pictures are packed already, text packs to a tenth
FREE = 256_000_000  # bytes that any archive may unpack to: a small one may hold plain bitmaps and masks
PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class ArchiveSource:
    path: Path
    read: Read
    format: str | None
    cache: Path

    def files(self) -> Iterator[Found]:
        """See `Source`; the files that are found lie in the cache."""
        place = self.cache / f"archive-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        tree = Tree.planted(place / self.path.name, printable(str(self.path)))
        try:
            for name, file in self._members(place / "content"):
                tree.add(name, file)
        except SourceError:
            raise
        except Exception as error:  # damaged archives raise whatever they like
            raise self._refusal(f"cannot be unpacked: {error}") from None
        yield from tree.files(self.read, self.format, place)

    def _members(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Name and content of every file in the archive."""
        folder.mkdir(parents=True, exist_ok=True)
        left = max(FREE, MOST_TIMES * self.path.stat().st_size)
        for count, (name, stream) in enumerate(self._streams(), 1):
            if count > MOST_MEMBERS:
                raise self._refusal(f"more than {MOST_MEMBERS:,} files")
            file, size = _stored(stream, folder, left)
            left -= size
            if left < 0:
                raise self._refusal(
                    f"unpacks to more than {MOST_TIMES} times its size. If you trust it, unpack it yourself and ingest "
                    "that folder"
                )
            yield name, file

    def _streams(self) -> Iterator[tuple[str, IO[bytes]]]:
        return self._of_zip() if zipfile.is_zipfile(self.path) else self._of_tar()

    def _of_zip(self) -> Iterator[tuple[str, IO[bytes]]]:
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                    raise self._refusal(f"{printable(member.filename)!r} is a link or a device")
                if member.flag_bits & 1:
                    raise self._refusal(f"{printable(member.filename)!r} is encrypted")
                if not member.is_dir():
                    with archive.open(member) as stream:
                        yield member.filename, stream

    def _of_tar(self) -> Iterator[tuple[str, IO[bytes]]]:
        # "r|": never seeks, so that no header can lead it back or in a circle
        with tarfile.open(self.path, mode="r|*", errorlevel=2) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # or every header stays in memory
                if not member.isfile() and not member.isdir():
                    raise self._refusal(f"{printable(member.name)!r} is a link or a device")
                stream = archive.extractfile(member) if member.isfile() else None
                if stream:
                    with closing(stream):
                        yield member.name, stream

    def _refusal(self, reason: str) -> SourceError:
        return SourceError(f"{printable(str(self.path))}: {reason}. Nothing was added.")


def is_archive(path: Path) -> bool:
    """By its content, whatever it is called."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):  # a packed file that is cut off
        return False


def _stored(stream: IO[bytes], folder: Path, most: int) -> tuple[Path, int]:
    """Copy a stream into the file of `folder` that its digest names; stop behind `most` bytes."""
    digest, size, temporary = hashlib.sha256(), 0, folder / ".part"
    with temporary.open("wb") as file:
        while size <= most and (piece := stream.read(PIECE)):
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    return temporary.rename(folder / digest.hexdigest()), size
