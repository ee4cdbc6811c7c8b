"""Where objects lie outside the workspace: a folder, or a bucket of S3 and of whatever speaks its protocol.

In: an address, a path or `s3://bucket/prefix`; credentials and endpoint come from boto3's own variables and files.
Out: that objects can be written there, or a StorageError. Copying the dataset is left to `components.versioning`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

PROBE = ".visionloop-probe"


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
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    place = urlsplit(address)
    key = f"{place.path.strip('/')}/{PROBE}".lstrip("/")
    patience = Config(connect_timeout=3, read_timeout=3, retries={"total_max_attempts": 1})
    try:
        bucket = boto3.client("s3", config=patience)
        bucket.put_object(Bucket=place.netloc, Key=key, Body=b"")
        bucket.delete_object(Bucket=place.netloc, Key=key)
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"{address}: {error}") from None
