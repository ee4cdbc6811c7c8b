"""Archives: their files are read like a folder, and nothing in them is trusted."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.data.annotations import one_label
from components.data.sources import SourceError, archive
from tests.annotated import SIZE, boxes, coco, found_in, picture, told, voc, voc_object

KINDS = ("zip", "tar", "tar.gz", "tar.xz", "tar.bz2")


def packed(folder: Path, kind: str, called: str = "photos", start: str = "") -> Path:
    """An archive of what is in `folder`, beside it."""
    path = folder.parent / f"{called}.{kind}"
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as made:
            for each in files:
                made.write(each, start + str(each.relative_to(folder)))
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as made:
            for each in files:
                made.add(each, start + str(each.relative_to(folder)))
    return path


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


def tarred(path: Path, *members: tuple[str, bytes | str], kind: bytes = tarfile.REGTYPE) -> Path:
    """Members of (name, content), or of (name, target) where `kind` is a link."""
    with tarfile.open(path, "w") as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = kind, content
                made.addfile(member)
            else:
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    return path


def refusal(path: Path, cache: Path) -> str:
    with pytest.raises(SourceError) as caught:
        found_in(path, one_label, cache=cache)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "othing was added" in message
    return message


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    picture(tmp_path / "photos/cat/1.png", 1)
    picture(tmp_path / "photos/dog/2.png", 2)
    return tmp_path / "photos"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read_like_the_folder_that_it_holds(photos, cache, kind):
    path = packed(photos, kind)
    found = found_in(path, one_label, cache=cache)
    assert [(each.name, each.label, each.said_by) for each in found] == [
        ("cat/1.png", "cat", f"photos.{kind}/cat/1.png"),
        ("dog/2.png", "dog", f"photos.{kind}/dog/2.png"),
    ]
    assert [each.place for each in found] == [f"{path}/cat/1.png", f"{path}/dog/2.png"]
    assert found[0].path.read_bytes() == (photos / "cat/1.png").read_bytes()


def test_an_archive_is_known_by_its_content(photos, cache):
    path = packed(photos, "zip").rename(photos.parent / "download")
    assert set(told(path, one_label, cache=cache)) == {"cat/1.png", "dog/2.png"}


@pytest.mark.parametrize("start", ["photos/", "./", "deep/photos/", "photos//"])
def test_a_folder_around_everything_means_nothing(photos, cache, start):
    path = packed(photos, "tar", start=start)
    assert {each.label: each.place for each in found_in(path, one_label, cache=cache)} == {
        "cat": f"{path}/{start.removeprefix('./').replace('//', '/')}cat/1.png",
        "dog": f"{path}/{start.removeprefix('./').replace('//', '/')}dog/2.png",
    }


def test_one_folder_of_pictures_is_a_label(tmp_path, cache):
    picture(tmp_path / "photos/cat/1.png", 1)
    assert told(packed(tmp_path / "photos", "zip"), one_label, cache=cache) == {"cat/1.png": "cat"}


def test_annotations_in_an_archive_are_recognised(tmp_path, cache):
    picture(tmp_path / "set/images/a.png", 1)
    coco(tmp_path / "set/annotations/instances.json", {1: "a.png"}, [])
    assert told(packed(tmp_path / "set", "tar"), boxes, cache=cache) == {"images/a.png": "[]"}
    (tmp_path / "set/annotations/instances.json").unlink()
    voc(tmp_path / "set/annotations/a.xml", voc_object("cat", 2, 3, 12, 23), size=SIZE)
    assert '"cat"' in told(packed(tmp_path / "set", "zip"), boxes, cache=cache, format="voc")["images/a.png"]


def test_files_of_the_same_content_are_stored_once(tmp_path, cache):
    data = picture(tmp_path / "1.png", 1).read_bytes()
    path = zipped(tmp_path / "a.zip", {"cat/1.png": data, "cat/2.png": data})
    assert len(found_in(path, one_label, cache=cache)) == 2
    assert len([each for each in cache.rglob("*") if each.is_file() and not each.is_symlink()]) == 1


def test_an_error_inside_is_told_by_the_name_of_the_archive(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", {"labels.csv": b"path,label\n1.png\n"})
    assert f"{path}/labels.csv has 1 mistake(s)" in refusal(path, cache)


# What is refused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.png", "a path that leads out of it"),
        ("cat/../../evil.png", "a path that leads out of it"),
        ("/etc/evil.png", "an absolute path"),
        ("C:/evil.png", "an absolute path"),
        ("C:\\evil.png", "an absolute path"),
        ("..\\evil.png", "a path that leads out of it"),
        ("cat/" + "x" * 256, "a name of more than 255 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leads_out_refuses_the_archive(tmp_path, cache, name, said, kind):
    path = tmp_path / f"a.{kind}"
    members = (("cat/1.png", b"x"), (name, b"evil"))
    zipped(path, dict(members)) if kind == "zip" else tarred(path, *members)
    assert said in refusal(path, cache)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_refuse_a_tar(tmp_path, cache, kind):
    path = tarred(tmp_path / "a.tar", ("cat/1.png", "/etc/passwd"), kind=kind)
    assert "'cat/1.png' is a link or a device" in refusal(path, cache)


def test_a_link_refuses_a_zip(tmp_path, cache):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        member = zipfile.ZipInfo("cat/1.png")
        member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        made.writestr(member, "/etc/passwd")
    assert "is a link or a device" in refusal(path, cache)


def test_a_name_that_is_there_twice_refuses_the_archive(tmp_path, cache):
    path = tarred(tmp_path / "a.tar", ("cat/1.png", b"x"), ("cat/./1.png", b"y"))
    assert "'cat/./1.png': there twice" in refusal(path, cache)
    path = tarred(tmp_path / "b.tar", ("cat", b"x"), ("cat/1.png", b"y"))
    assert "below a file of that name" in refusal(path, cache)


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archive, "FREE", 1_000_000)
    path = zipped(tmp_path / "a.zip", {"cat/1.bmp": bytes(20_000_000)})
    assert path.stat().st_size < 30_000
    assert "unpacks to more than 50 times its size" in refusal(path, cache)
    assert sum(each.stat().st_size for each in cache.rglob("*") if each.is_file()) < 3_500_000


def test_a_bomb_of_many_files_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    path = tarred(tmp_path / "a.tar", *((f"cat/{number}.png", b"") for number in range(4)))
    assert "more than 3 files" in refusal(path, cache)


def test_a_small_archive_of_bitmaps_is_no_bomb(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", {"cat/1.bmp": bytes(20_000_000)})
    assert len(found_in(path, one_label, cache=cache)) == 1


def test_an_archive_that_is_cut_off_is_refused(tmp_path, cache):
    whole = os.urandom(100_000)
    for path in (zipped(tmp_path / "a.zip", {"cat/1.png": whole}), tarred(tmp_path / "a.tar", ("cat/1.png", whole))):
        damaged = path.read_bytes()
        path.write_bytes(damaged[:50_000] + (damaged[60_000:] if path.suffix == ".zip" else b""))
        assert "cannot be unpacked" in refusal(path, cache)


def test_an_encrypted_member_refuses_the_archive(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", {"cat/1.png": b"secret"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag, in the header of the member ...
    data[data.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    path.write_bytes(data)
    assert "'cat/1.png' is encrypted" in refusal(path, cache)


def test_a_table_in_an_archive_cannot_name_files_outside_of_it(tmp_path, cache):
    secret = picture(tmp_path / "secret.png", 1)
    rows = f"path,label\n{secret},a\n../../../../secret.png,b\n1.png,c\n"
    path = zipped(tmp_path / "a.zip", {"labels.csv": rows.encode(), "1.png": b"x"})
    found = found_in(path, one_label, cache=cache)
    assert [each.objection and each.objection[0] for each in found] == ["outside", "outside", None]
    assert not any(each.path.exists() for each in found[:2])


def test_what_an_earlier_run_left_is_swept(photos, cache):
    path = packed(photos, "zip")
    found_in(path, one_label, cache=cache)
    zipped(path, {"emu/1.png": b"x"})
    assert told(path, one_label, cache=cache) == {"emu/1.png": "emu"}
