"""Where objects lie outside the workspace: a folder, or a bucket of S3 and of whatever speaks its protocol.

In: an address, a path or `s3://bucket/prefix`; credentials and endpoint come from boto3's own variables and files.
Out: that objects can be written there, copies of all objects under a prefix, or a StorageError. Copying the dataset is
left to `components.versioning`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROBE = ".visionloop-probe"
AT_ONCE = 16  # objects fetched at the same time
PIECE = 1 << 20  # bytes
PAGE = 1000  # objects in one answer; servers give no more
HALF = ".part"


class StorageError(RuntimeError):
    """Objects cannot be written at an address; the message says why."""


def check_writable(address: str) -> None:
    """Write and remove a small object at `address`; raise StorageError when that fails (within 10 s)."""
    if "://" not in address:
        _check_folder(Path(address))
    elif address.startswith("s3://"):
        _check_bucket(address)
    else:
        raise StorageError(f"{address} is neither a folder nor s3://bucket/prefix")


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=PROBE, dir=folder):
            return
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from None


def _check_bucket(address: str) -> None:
    bucket, prefix = _split(address)
    with _told(address):
        client = _client(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
        key = f"{prefix}/{PROBE}".lstrip("/")
        client.put_object(Bucket=bucket, Key=key, Body=b"")
        client.delete_object(Bucket=bucket, Key=key)


@dataclass(frozen=True)
class StoredObject:
    """One object under a prefix; `name` is its key less the prefix."""

    key: str
    name: str
    etag: str
    size: int  # bytes

    @property
    def file_name(self) -> str:
        """Of its copy: another object, or another version of this one, has another name."""
        return hashlib.sha256(f"{self.key}\n{self.etag}\n{self.size}".encode()).hexdigest()


def list_objects(address: str) -> list[StoredObject]:
    """All objects below `s3://bucket/prefix` (below the folder of that name), in the order of their keys."""
    bucket, prefix = _split(address)
    start = f"{prefix}/" if prefix else ""
    with _told(address):
        paginator = _client().get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=bucket, Prefix=start, PaginationConfig={"PageSize": PAGE})
        rows = [row for page in pages for row in page.get("Contents", ())]
    found = (StoredObject(row["Key"], row["Key"][len(start) :], row["ETag"], row["Size"]) for row in rows)
    return [each for each in found if not each.name.endswith("/")]  # some tools mark folders so


def fetch_all(address: str, folder: Path) -> dict[str, Path]:
    """Copy every object below `s3://bucket/prefix` into `folder`; return the copies, by name.

    A copy that is there already, of the same ETag and size, is not fetched again; one of an object that is gone is
    removed. Copies are whole or absent, so that the same call goes on where one that failed had stopped. Raises
    StorageError at the first object that cannot be fetched.
    """
    objects = list_objects(address)
    copies = {each.name: folder / each.file_name for each in objects}
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.iterdir()) - set(copies.values()):
        path.unlink()
    missing = [each for each in objects if not copies[each.name].exists()]
    bucket, _ = _split(address)
    with _told(address):
        client = _client(max_pool_connections=AT_ONCE, retries={"mode": "standard", "total_max_attempts": 5})
        _in_parallel([(client, bucket, each, copies[each.name]) for each in missing])
    return copies


def _in_parallel(work: list[tuple[Any, str, StoredObject, Path]]) -> None:
    """Fetch all; after the first failure begin no other."""
    failed = threading.Event()

    def fetch(job: tuple[Any, str, StoredObject, Path]) -> None:
        if failed.is_set():
            return
        try:
            _fetch(*job)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(fetch, job) for job in work]:
            future.result()


def _fetch(client: Any, bucket: str, wanted: StoredObject, copy: Path) -> None:
    half = copy.with_name(f"{copy.name}.{os.getpid()}.{threading.get_ident()}{HALF}")
    try:
        # IfMatch: an object that changed since it was listed is an error, not a mixture
        body = client.get_object(Bucket=bucket, Key=wanted.key, IfMatch=wanted.etag)["Body"]
        with half.open("wb") as file:
            for piece in body.iter_chunks(PIECE):
                file.write(piece)
        half.rename(copy)
    finally:
        half.unlink(missing_ok=True)


def _split(address: str) -> tuple[str, str]:
    """Bucket and prefix, without slashes around it. No URL: a key may hold any character."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


def _client(**options: Any) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(**options))


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Errors of the vendor, of the network and of the disk become StorageError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise StorageError(f"{address}: {error}") from None
