"""Image bytes in shards: found again by row, whole or absent, and never rewritten."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from components.data.shards import ShardError, ShardReader, write_shard

IMAGES = [("a", b"first"), ("b", b""), ("c", b"\0third\xff" * 1000)]


def test_each_image_is_read_back_by_its_row(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, IMAGES)
    reader = ShardReader(tmp_path)
    assert [reader.read(shard, row) for row in range(3)] == [data for _, data in IMAGES]


def test_equal_images_make_one_shard_and_others_another(tmp_path: Path) -> None:
    names = [write_shard(tmp_path, images) for images in (IMAGES, IMAGES, IMAGES[::-1], IMAGES[:2])]
    assert names[0] == names[1]
    assert len(set(names)) == len(list(tmp_path.iterdir())) == 3


def test_equal_images_make_equal_bytes(tmp_path: Path) -> None:
    """DVC stores a shard once, whoever wrote it."""
    one, other = (folder / write_shard(folder, IMAGES) for folder in (tmp_path / "one", tmp_path / "other"))
    assert one.read_bytes() == other.read_bytes()


def test_a_reader_travels_to_another_process(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, IMAGES)
    reader = ShardReader(tmp_path)
    reader.read(shard, 0)
    assert pickle.loads(pickle.dumps(reader)).read(shard, 0) == b"first"


def test_what_was_read_outlives_its_reader(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, IMAGES)
    data = ShardReader(tmp_path).read(shard, 2)
    (tmp_path / shard).unlink()
    assert data == IMAGES[2][1]


def test_a_missing_shard_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"No shard gone\.arrow .* `dvc pull`"):
        ShardReader(tmp_path).read("gone.arrow", 0)


def test_a_damaged_shard_says_so(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, IMAGES)
    (tmp_path / shard).write_bytes((tmp_path / shard).read_bytes()[:100])
    with pytest.raises(ShardError, match="damaged"):
        ShardReader(tmp_path).read(shard, 0)


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_refused(tmp_path: Path, row: int) -> None:
    shard = write_shard(tmp_path, IMAGES)
    with pytest.raises(ShardError, match="has 3 rows"):
        ShardReader(tmp_path).read(shard, row)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path, IMAGES)
    assert list(tmp_path.iterdir()) == []
