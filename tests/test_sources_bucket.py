"""A bucket's objects are read like a folder; a fetch that was cut off goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components import storage
from components.data.annotations import one_label
from components.data.sources import SourceError
from components.storage import StorageError, fetch_all, list_objects
from tests.annotated import boxes, coco, found_in, picture, told


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a server that speaks S3 listens."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(address, monkeypatch):
    """A boto3 bucket `mine`, empty."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    found = boto3.resource("s3").Bucket("mine")
    found.create()
    found.objects.all().delete()
    return found


def upload(bucket, folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put_object(Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """Keys of the objects that were fetched."""
    keys: list[str] = []
    fetch = storage._fetch

    def heard(client, name, wanted, copy):
        keys.append(wanted.key)
        fetch(client, name, wanted, copy)

    monkeypatch.setattr(storage, "_fetch", heard)
    return keys


@pytest.fixture
def photos(tmp_path, bucket) -> Path:
    """Three pictures, also in the bucket under photos/."""
    for number, label in enumerate(("cat", "dog", "dog")):
        picture(tmp_path / f"photos/{label}/{number}.png", number)
    upload(bucket, tmp_path / "photos", "photos")
    return tmp_path / "photos"


def test_a_prefix_is_read_like_a_folder(photos, bucket, tmp_path):
    bucket.put_object(Key="photos/cat/", Body=b"")  # how some tools mark a folder
    bucket.put_object(Key="photos-of-others/emu/1.png", Body=b"x")
    found = found_in("s3://mine/photos/", one_label, cache=tmp_path / "cache")
    assert [(each.name, each.label, each.place) for each in found] == [
        ("cat/0.png", "cat", "s3://mine/photos/cat/0.png"),
        ("dog/1.png", "dog", "s3://mine/photos/dog/1.png"),
        ("dog/2.png", "dog", "s3://mine/photos/dog/2.png"),
    ]
    assert found[0].path.read_bytes() == (photos / "cat/0.png").read_bytes()
    assert found[0].said_by == "photos/cat/0.png"


@pytest.mark.usefixtures("photos")
def test_a_path_made_of_an_address_is_that_address(tmp_path):
    assert len(found_in(Path("s3://mine/photos"), one_label, cache=tmp_path / "cache")) == 3


def test_annotations_in_a_bucket_are_recognised(bucket, tmp_path):
    picture(tmp_path / "set/a.png", 1)
    coco(tmp_path / "set/instances.json", {1: "a.png"}, [])
    upload(bucket, tmp_path / "set", "deep/set")
    assert told("s3://mine/deep/set", boxes, cache=tmp_path / "cache") == {"a.png": "[]"}


@pytest.mark.usefixtures("photos")
def test_only_what_changed_is_fetched_again(bucket, tmp_path, fetched):
    fetch_all("s3://mine/photos", tmp_path / "copies")
    assert sorted(fetched) == ["photos/cat/0.png", "photos/dog/1.png", "photos/dog/2.png"]
    fetched.clear()
    bucket.put_object(Key="photos/cat/0.png", Body=b"another")
    bucket.Object("photos/dog/1.png").delete()
    copies = fetch_all("s3://mine/photos", tmp_path / "copies")
    assert fetched == ["photos/cat/0.png"]
    assert sorted(copies) == ["cat/0.png", "dog/2.png"]
    assert copies["cat/0.png"].read_bytes() == b"another"
    assert set((tmp_path / "copies").iterdir()) == set(copies.values())


@pytest.mark.usefixtures("photos")
def test_a_fetch_that_was_cut_off_goes_on_where_it_stopped(tmp_path, fetched, monkeypatch):
    heard = storage._fetch

    def failing(client, name, wanted, copy):
        if wanted.key == "photos/dog/1.png":
            raise OSError(28, "No space left on device")
        heard(client, name, wanted, copy)

    monkeypatch.setattr(storage, "AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_fetch", failing)
        with pytest.raises(StorageError, match=r"s3://mine/photos: .*No space left"):
            fetch_all("s3://mine/photos", tmp_path / "copies")
    assert fetched == ["photos/cat/0.png"]
    fetch_all("s3://mine/photos", tmp_path / "copies")
    assert fetched == ["photos/cat/0.png", "photos/dog/1.png", "photos/dog/2.png"]


def test_half_a_copy_is_never_taken_for_one(photos, tmp_path):
    (wanted, *_) = list_objects("s3://mine/photos")
    (tmp_path / "copies").mkdir()
    half = tmp_path / "copies" / f"{wanted.file_name}.123.4.part"
    half.write_bytes(b"half")
    copies = fetch_all("s3://mine/photos", tmp_path / "copies")
    assert copies["cat/0.png"].read_bytes() == (photos / "cat/0.png").read_bytes()
    assert not half.exists()


@pytest.mark.usefixtures("photos")
def test_an_object_that_changes_meanwhile_is_an_error(bucket, tmp_path, monkeypatch):
    listed = list_objects("s3://mine/photos")
    bucket.put_object(Key="photos/cat/0.png", Body=b"another")
    monkeypatch.setattr(storage, "list_objects", lambda _: listed)
    with pytest.raises(StorageError, match=r"PreconditionFailed|pre-conditions"):
        fetch_all("s3://mine/photos", tmp_path / "copies")


def test_more_objects_than_one_page_are_all_listed(bucket, monkeypatch):
    monkeypatch.setattr(storage, "PAGE", 2)
    for name in "abcde":
        bucket.put_object(Key=f"many/{name}", Body=b"")
    assert [each.name for each in list_objects("s3://mine/many")] == list("abcde")


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://mine/nothing", "s3://mine/nothing: found no objects"),
        ("s3://yours/photos", "s3://yours/photos: .*NoSuchBucket"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, place, said):
    with pytest.raises(SourceError, match=said):
        found_in(place, one_label, cache=tmp_path / "cache")


def test_a_key_that_leads_out_is_refused(bucket, tmp_path):
    bucket.put_object(Key="bad/a/../../evil.png", Body=b"x")
    with pytest.raises(SourceError, match="a path that leads out of it"):
        found_in("s3://mine/bad", one_label, cache=tmp_path / "cache")
