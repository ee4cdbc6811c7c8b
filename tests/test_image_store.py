"""Stored images come back byte for byte, or with a clear error."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.state.image_store import ImageStore, ImageStoreError


def test_an_image_is_named_by_its_content_and_kept_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image_id = store.put(b"picture")
    assert image_id == hashlib.sha256(b"picture").hexdigest()
    assert store.put(b"picture") == image_id
    assert store.read(image_id) == b"picture"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [image_id]


def test_many_threads_may_store_the_same_image(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(store.put, [b"picture" * 1000] * 64))
    assert [store.read(image_id) for image_id in ids] == [b"picture" * 1000]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_missing_or_damaged_image_is_said_to_be_so(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with pytest.raises(ImageStoreError, match="cannot be read"):
        store.read("ab" * 32)
    image_id = store.put(b"picture")
    store.path(image_id).write_bytes(b"pictur3")
    with pytest.raises(ImageStoreError, match="damaged"):
        store.read(image_id)


def test_an_image_cut_short_by_a_power_cut_is_stored_again(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image_id = store.put(b"picture")
    store.path(image_id).write_bytes(b"")
    assert store.put(b"picture") == image_id
    assert store.read(image_id) == b"picture"


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    (tmp_path / hashlib.sha256(b"picture").hexdigest()[:2]).write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"[Ee]xists|[Dd]irectory"):
        store.put(b"picture")
    assert not list(tmp_path.rglob("*.tmp"))
