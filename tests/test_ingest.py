"""Ingest: files become a dataset once, bad ones are set aside with a reason, and a crash changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from components.data.annotations import LabelError
from components.data.ingest import CHUNK_FILES, Ingested, IngestError, ingest
from components.data.shards import ShardReader
from components.data.sources import Found, open_source
from components.data.tables import CONFLICTS, LABELS, MANIFEST, QUARANTINE, file_digest, read_table
from components.launcher.local import LocalLauncher
from components.params import IngestParams, Params
from components.report import Silent
from components.workspace import Workspace
from tests.conftest import ReportInMemory
from tests.drawing import draw, draw_folder, encode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def allowed(params: Params) -> IngestParams:
    """As shipped, but however many bad files are put aside without stopping."""
    return replace(params.ingest, max_bad_share=1.0)


def take_in(workspace: Workspace, source: Path, params: IngestParams, now: datetime = NOW) -> Ingested:
    return ingest(open_source(source), workspace, params, LocalLauncher(1), Silent(), now)


def rows(path: Path, schema: pa.Schema) -> list[dict[str, object]]:
    return read_table(path, schema).to_pylist()


def labels_of(workspace: Workspace) -> dict[str, str]:
    """The label of each image, by the name it was found under."""
    names = {row["image_id"]: str(row["source_path"]) for row in rows(workspace.manifest, MANIFEST)}
    return {names[row["image_id"]]: str(row["label"]) for row in rows(workspace.labels, LABELS)}


def digests(workspace: Workspace) -> dict[str, str]:
    """Every file that ingest wrote, with its content."""
    return {
        str(path.relative_to(workspace.data)): file_digest(path)
        for path in sorted(workspace.data.rglob("*"))
        if path.is_file()
    }


def photos(folder: Path, **images: bytes) -> Path:
    """`cat__1=b"..."` is the file cat/1."""
    for name, data in images.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def picture(seed: int) -> bytes:
    return encode(draw("circle", seed))


def large(seed: int) -> bytes:
    """480 kB."""
    return encode(draw("square", seed, 400), "BMP")


# What a good source becomes


def test_every_image_is_in_a_shard_and_has_its_label(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "shapes", per_class=3)
    assert take_in(workspace, folder, allowed) == Ingested(added=12, known=0, quarantined=0, conflicts=0)
    reader = ShardReader(workspace.shards)
    for row in rows(workspace.manifest, MANIFEST):
        assert reader.read(str(row["shard"]), int(str(row["row"]))) == (folder / str(row["source_path"])).read_bytes()
    assert labels_of(workspace)["cross/00002.png"] == "cross"
    assert rows(workspace.quarantine, QUARANTINE) == rows(workspace.conflicts, CONFLICTS) == []


def test_labels_say_who_said_them_and_when(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    take_in(workspace, photos(tmp_path / "photos", cat__1=picture(1)), allowed)
    (row,) = rows(workspace.labels, LABELS)
    assert (row["label"], row["kind"], row["source"], row["author"]) == ("cat", "human", "photos/cat/1", "")
    assert row["labelled_at"] == NOW


def test_the_outcome_is_one_line() -> None:
    assert str(Ingested(3, 2, 1, 0)) == "3 added, 2 already known, 1 quarantined, 0 in conflict"


def test_the_same_folder_twice_adds_nothing(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(draw_folder(tmp_path / "shapes", per_class=2), cross__bad=b"no image", circle__copy=picture(0))
    shutil.copy(folder / "circle/00001.png", folder / "square/other-label.png")
    first = take_in(workspace, folder, allowed)
    before = digests(workspace)
    assert first == Ingested(added=7, known=1, quarantined=1, conflicts=1)
    assert take_in(workspace, folder, allowed, LATER) == Ingested(added=0, known=8, quarantined=1, conflicts=1)
    assert digests(workspace) == before


def test_new_images_are_appended_and_old_rows_and_shards_stay(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "shapes", per_class=2)
    take_in(workspace, folder, allowed)
    before, shards = rows(workspace.manifest, MANIFEST), set(workspace.shards.iterdir())
    draw_folder(folder, per_class=1, first=2)
    assert take_in(workspace, folder, allowed, LATER) == Ingested(added=4, known=8, quarantined=0, conflicts=0)
    assert rows(workspace.manifest, MANIFEST)[:8] == before
    assert shards < set(workspace.shards.iterdir())
    times = {row["image_id"]: row["labelled_at"] for row in rows(workspace.labels, LABELS)}
    assert [times[row["image_id"]] for row in rows(workspace.manifest, MANIFEST)] == [NOW] * 8 + [LATER] * 4


def test_many_processes_give_what_one_gives(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "shapes", per_class=CHUNK_FILES // 4 + 1, size=8)
    shutil.copytree(workspace.root, tmp_path / "other")
    other = Workspace(tmp_path / "other")
    take_in(workspace, folder, allowed)
    ingest(open_source(folder), other, allowed, LocalLauncher(2), Silent(), NOW)
    assert digests(other) == digests(workspace)


def test_shards_are_cut_at_their_size(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", **{f"cat__{seed}": large(seed) for seed in range(6)})
    take_in(workspace, folder, replace(allowed, shard_mb=1))
    sizes = [path.stat().st_size for path in workspace.shards.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1_500_000


def test_progress_is_reported_to_the_end(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    heard: list[tuple[int, int, str]] = []

    class Listening(Silent):
        def progress(self, done: int, total: int, what: str) -> None:
            heard.append((done, total, what))

    folder = draw_folder(tmp_path / "shapes", per_class=CHUNK_FILES // 4 + 1, size=8)
    ingest(open_source(folder), workspace, allowed, LocalLauncher(1), Listening(), NOW)
    assert heard == [(CHUNK_FILES, CHUNK_FILES + 4, "ingest"), (CHUNK_FILES + 4, CHUNK_FILES + 4, "ingest")]


def test_splits_of_the_source_are_kept(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(tmp_path / "sets", train__cat__1=picture(1), valid__cat__2=picture(2), test__cat__3=picture(3))
    take_in(workspace, folder, allowed)
    splits = {row["source_path"]: row["source_split"] for row in rows(workspace.manifest, MANIFEST)}
    assert splits == {"train/cat/1": "train", "valid/cat/2": "val", "test/cat/3": "test"}


def test_an_image_in_train_and_test_is_a_test_image(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "sets", train__cat__1=picture(1), test__cat__same=picture(1), val__cat__same=picture(1))
    assert take_in(workspace, folder, allowed) == Ingested(added=1, known=2, quarantined=0, conflicts=0)
    (row,) = rows(workspace.manifest, MANIFEST)
    assert row["source_split"] == "test"


def test_an_old_image_keeps_its_split(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    take_in(workspace, photos(tmp_path / "old", train__cat__1=picture(1)), allowed)
    take_in(workspace, photos(tmp_path / "new", test__cat__1=picture(1)), allowed)
    (row,) = rows(workspace.manifest, MANIFEST)
    assert row["source_split"] == "train"


# What cannot be used


def bad_files(folder: Path) -> dict[str, str]:
    """Make one file of each kind that must be refused; return the reason expected for each."""
    whole = encode(draw("circle", 1, 64), "JPEG")
    photos(
        folder,
        cat__empty=b"",
        cat__cut=whole[: len(whole) // 2],
        cat__tiny=encode(Image.new("L", (3, 3))),
        cat__huge=encode(Image.new("1", (8000, 8000))),
    )
    photos(folder, **{"cat__a text.jpg": b"hello", "cat__<b>\n👻.jpg": b"hello", "stray.png": picture(1)})
    (folder / "cat" / os.fsdecode(b"\xff.jpg")).write_bytes(b"hello")
    (folder / "cat/dangling").symlink_to("nowhere")
    (folder / "cat/loop").symlink_to("loop")
    os.mkfifo(folder / "cat/pipe.jpg")
    return {
        "cat/empty": "empty",
        "cat/cut": "truncated",
        "cat/tiny": "too_small",
        "cat/huge": "too_many_pixels",
        "cat/a text.jpg": "not_image",
        "cat/<b>\\n👻.jpg": "not_image",
        "stray.png": "no_label",
        "cat/\\udcff.jpg": "not_image",
        "cat/dangling": "missing",
        "cat/loop": "unreadable",
        "cat/pipe.jpg": "unreadable",
    }


def test_each_bad_file_is_set_aside_with_its_reason(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    expected = bad_files(tmp_path / "photos")
    photos(tmp_path / "photos", cat__good=picture(2))
    outcome = take_in(workspace, tmp_path / "photos", allowed)
    assert outcome == Ingested(added=1, known=0, quarantined=len(expected), conflicts=0)
    found = rows(workspace.quarantine, QUARANTINE)
    root = str(tmp_path / "photos") + "/"
    assert {str(row["path"]).removeprefix(root): row["reason"] for row in found} == expected
    assert all(row["detail"] for row in found)
    assert sum(row["sha256"] is None for row in found) == 3  # the link to nothing, the loop and the pipe


def test_quarantine_lists_a_file_once(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", cat__1=b"bad", cat__2=picture(2))
    take_in(workspace, folder, allowed)
    take_in(workspace, folder, allowed)
    take_in(workspace, photos(tmp_path / "more", cat__1=b"also bad", cat__2=picture(2)), allowed)
    paths = [row["path"] for row in rows(workspace.quarantine, QUARANTINE)]
    assert paths == [str(tmp_path / "more/cat/1"), str(tmp_path / "photos/cat/1")]


def test_a_mended_file_leaves_quarantine(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", cat__1=b"bad", cat__2=picture(2))
    take_in(workspace, folder, allowed)
    assert take_in(workspace, photos(folder, cat__1=picture(1)), allowed).added == 1
    assert rows(workspace.quarantine, QUARANTINE) == []


def test_a_file_larger_than_any_allowed_image_is_not_read(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1))
    with (folder / "cat/sparse.jpg").open("wb") as file:
        file.truncate(200_000_000_000)
    take_in(workspace, folder, allowed)
    (row,) = rows(workspace.quarantine, QUARANTINE)
    assert row["reason"] == "unreadable"
    assert "200,000,000,000 bytes" in str(row["detail"])


def test_a_missing_file_of_a_table_is_told_by_line(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    photos(tmp_path / "set", a__1=picture(1))
    (tmp_path / "set/labels.csv").write_text("path,label\na/1,NA\na/2,NA\n")
    assert take_in(workspace, tmp_path / "set/labels.csv", allowed).quarantined == 1
    assert labels_of(workspace) == {"a/1": "NA"}
    (row,) = rows(workspace.quarantine, QUARANTINE)
    assert (row["reason"], row["detail"]) == ("missing", "labels.csv:3, path a/2: No such file or directory")


def test_too_many_bad_files_stop_with_a_count_and_add_nothing(
    workspace: Workspace, params: Params, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1), cat__2=b"bad", cat__3=b"", cat__4=b"bad")
    with pytest.raises(IngestError) as caught:
        take_in(workspace, folder, params.ingest)
    assert "3 of 4 files cannot be used (2 not_image, 1 empty)" in str(caught.value)
    assert "ingest.max_bad_share allows 5.0%. Nothing was added" in str(caught.value)
    assert len(rows(workspace.quarantine, QUARANTINE)) == 3
    assert not workspace.manifest.exists()
    assert list(workspace.shards.glob("*")) == []


def test_refused_files_and_conflicts_are_told(
    workspace: Workspace, allowed: IngestParams, report: ReportInMemory, tmp_path: Path
) -> None:
    bad = {f"cat__bad{number:02}": b"bad" for number in range(12)}
    folder = photos(tmp_path / "photos", cat__1=picture(1), dog__1=picture(1), **bad)
    ingest(open_source(folder), workspace, allowed, LocalLauncher(1), report, NOW)
    assert report.lines[0].startswith(f"quarantined {folder}/cat/bad00: not_image, starts with b'bad'")
    assert report.lines[-1] == "and 3 more: see quarantine.parquet and conflicts.parquet in data/"


# Two labels, and verdicts


def claims(workspace: Workspace) -> set[tuple[object, object]]:
    return {(row["label"], row["path"]) for row in rows(workspace.conflicts, CONFLICTS)}


def test_the_same_image_under_two_labels_is_set_aside(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1), cat__2=picture(2), dog__1=picture(1))
    assert take_in(workspace, folder, allowed) == Ingested(added=1, known=0, quarantined=0, conflicts=1)
    assert labels_of(workspace) == {"cat/2": "cat"}
    assert claims(workspace) == {("cat", "photos/cat/1"), ("dog", "photos/dog/1")}


def test_a_known_image_under_another_label_is_set_aside(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    take_in(workspace, photos(tmp_path / "old", cat__1=picture(1), cat__2=picture(2)), allowed)
    outcome = take_in(workspace, photos(tmp_path / "new", dog__1=picture(1), emu__1=picture(1)), allowed, LATER)
    assert outcome == Ingested(added=0, known=0, quarantined=0, conflicts=1)
    assert labels_of(workspace) == {"cat/2": "cat"}
    assert claims(workspace) == {("cat", "old/cat/1"), ("dog", "new/dog/1"), ("emu", "new/emu/1")}


class Verdicts:
    """A source of what people said in production."""

    def __init__(self, *found: Found) -> None:
        self.found = found

    def files(self) -> Iterator[Found]:
        yield from self.found


def judge(workspace: Workspace, params: IngestParams, path: Path, label: str, author: str = "ann") -> Ingested:
    found = Found(path, path.name, label, origin="feedback", author=author, said_by="request-7")
    return ingest(Verdicts(found), workspace, params, LocalLauncher(1), Silent(), LATER)


def test_a_verdict_on_a_new_image_adds_it(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    photos(tmp_path, new=picture(1))
    assert judge(workspace, allowed, tmp_path / "new", "cat").added == 1
    assert rows(workspace.manifest, MANIFEST)[0]["origin"] == "feedback"
    (row,) = rows(workspace.labels, LABELS)
    assert (row["label"], row["source"], row["author"], row["labelled_at"]) == ("cat", "request-7", "ann", LATER)


def test_a_verdict_replaces_the_label_of_a_known_image(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1), cat__2=picture(2))
    take_in(workspace, folder, allowed)
    assert judge(workspace, allowed, folder / "cat/1", "dog") == Ingested(0, 1, 0, 0)
    assert labels_of(workspace) == {"cat/2": "cat", "cat/1": "dog"}
    assert rows(workspace.manifest, MANIFEST)[0]["origin"] == "source"


def test_a_verdict_outlasts_the_folder_that_said_otherwise(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1))
    take_in(workspace, folder, allowed)
    judge(workspace, allowed, folder / "cat/1", "dog")
    assert take_in(workspace, folder, allowed) == Ingested(added=0, known=1, quarantined=0, conflicts=0)
    assert labels_of(workspace) == {"cat/1": "dog"}


def test_a_verdict_ends_a_conflict(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", cat__1=picture(1), dog__1=picture(1))
    take_in(workspace, folder, allowed)
    judge(workspace, allowed, folder / "cat/1", "dog")
    assert (labels_of(workspace), claims(workspace)) == ({"cat/1": "dog"}, set())
    assert take_in(workspace, folder, allowed).conflicts == 0


def test_the_last_verdict_counts_and_saying_it_again_changes_nothing(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    photos(tmp_path, new=picture(1))
    for label in ("cat", "dog", "emu"):
        judge(workspace, allowed, tmp_path / "new", label)
    before = digests(workspace)
    judge(workspace, allowed, tmp_path / "new", "emu")
    assert labels_of(workspace) == {"new": "emu"}
    assert digests(workspace) == before


# Labels that fit the image, and classes that must stay


class Told:
    """A source that says what it is told to say."""

    def __init__(self, *found: Found) -> None:
        self.found = found

    def files(self) -> Iterator[Found]:
        yield from self.found


def told(folder: Path, name: str, label: str | None = "cat", **more: Any) -> Found:
    photos(folder, **{name.replace("/", "__"): picture(sum(name.encode()))})
    return Found(folder / name, name, label, said_by=f"list.json, {name}", **more)


def small_only(label: str, size: tuple[int, int]) -> str:
    """Takes labels in lower case, of images up to 32 px."""
    if max(size) > 32:
        raise LabelError("too_large", f"{size[0]} x {size[1]} px")
    return label.lower()


def take_told(workspace: Workspace, params: IngestParams, *found: Found, **options: Any) -> Ingested:
    return ingest(Told(*found), workspace, params, LocalLauncher(1), Silent(), NOW, **options)


def quarantined(workspace: Workspace) -> dict[str, tuple[object, object]]:
    return {str(row["path"]): (row["reason"], row["detail"]) for row in rows(workspace.quarantine, QUARANTINE)}


def test_a_label_is_stored_as_the_task_wants_it(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    take_told(workspace, allowed, told(tmp_path, "1", "CAT"), check=small_only)
    assert labels_of(workspace) == {"1": "cat"}


def test_a_label_that_cannot_be_of_its_image_is_quarantined_with_file_and_place(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    photos(tmp_path, large=large(1))
    found = Found(tmp_path / "large", "large", "cat", said_by="list.json, images[3] (id 7)")
    take_told(workspace, allowed, found, told(tmp_path, "1"), check=small_only)
    assert quarantined(workspace) == {
        str(tmp_path / "large"): ("too_large", "list.json, images[3] (id 7): 400 x 400 px"),
    }
    take_told(workspace, allowed, found, told(tmp_path, "1"))
    assert set(labels_of(workspace)) == {"large", "1"}
    take_told(workspace, allowed, found, told(tmp_path, "1"), check=small_only)  # an image that is known has a size too
    assert list(quarantined(workspace)) == [str(tmp_path / "large")]


def test_a_label_made_for_another_size_is_quarantined(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    take_told(workspace, allowed, told(tmp_path, "1", size=(32, 32)), told(tmp_path, "2", size=(40, 30)))
    assert quarantined(workspace) == {
        str(tmp_path / "2"): (
            "bad_size",
            "list.json, 2: made for an image of 40 x 30 px; the image has 32 x 32 px, upright",
        )
    }


def test_an_objection_of_the_source_is_told_as_it_is(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    objection = ("bad_box", "a.xml: line 3, field bndbox: box [1, 1, 1, 2] of 'cat' has no area")
    bad = told(tmp_path, "1", None, objection=objection, shows=("cat",))
    assert take_told(workspace, allowed, bad, told(tmp_path, "2")).quarantined == 1
    assert quarantined(workspace) == {str(tmp_path / "1"): objection}


def test_what_is_wrong_with_the_file_is_told_before_what_is_wrong_with_its_label(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    photos(tmp_path, broken=b"no image")
    said = {"objection": ("bad_box", "a.xml: no area")}
    broken = Found(tmp_path / "broken", "broken", None, **said)
    gone = Found(tmp_path / "gone", "gone", None, said_by="a.xml", **said)
    orphan = Found(tmp_path / "a.json#7", "orphan", None, objection=("missing", "a.json, annotations[7]: no image"))
    take_told(workspace, allowed, broken, gone, orphan)
    assert {Path(path).name: said for path, said in quarantined(workspace).items()} == {
        "broken": ("not_image", "starts with b'no image'; expected JPEG, PNG, WEBP, BMP, GIF, TIFF"),
        "gone": ("missing", "a.xml, path gone: No such file or directory"),
        "a.json#7": ("missing", "a.json, annotations[7]: no image"),
    }


def test_files_are_called_by_the_place_that_the_user_knows(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    take_told(workspace, allowed, told(tmp_path, "1", None, place="photos.zip/cat/1"))
    assert list(quarantined(workspace)) == ["photos.zip/cat/1"]


@pytest.mark.parametrize("shown", [{"shows": ("cat", "emu")}, {}])
def test_a_class_of_which_no_image_is_left_stops_the_run(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path, shown: dict[str, tuple[str, ...]]
) -> None:
    bad = told(
        tmp_path, "bad", "emu" if not shown else None, size=(9, 9), objection=("x", "y") if shown else None, **shown
    )
    with pytest.raises(
        IngestError, match=r"No image .* is left of 1 class\(es\): 'emu' \(1 refused\)\. Nothing was added"
    ):
        take_told(workspace, allowed, bad, told(tmp_path, "1"))
    assert not workspace.manifest.exists()
    assert len(quarantined(workspace)) == 1


def test_a_class_that_the_dataset_has_already_is_not_emptied(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    take_told(workspace, allowed, told(tmp_path, "1", "emu|cat"), shown=lambda label: tuple(label.split("|")))
    bad = told(tmp_path, "2", "emu", size=(9, 9))
    assert take_told(workspace, allowed, bad, shown=lambda label: tuple(label.split("|"))).quarantined == 1


def test_pictures_that_were_made_are_known_as_such(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> None:
    take_told(workspace, allowed, told(tmp_path, "1", origin="synthetic"), told(tmp_path, "2"))
    assert {row["source"]: row["kind"] for row in rows(workspace.labels, LABELS)} == {
        "list.json, 1": "synthetic",
        "list.json, 2": "human",
    }
    assert [row["origin"] for row in rows(workspace.manifest, MANIFEST)] == ["synthetic", "source"]


def test_a_long_label_in_conflict_is_told_in_short(
    workspace: Workspace, allowed: IngestParams, report: ReportInMemory, tmp_path: Path
) -> None:
    one = told(tmp_path, "1", "[" + "x" * 500)
    ingest(Told(one, replace(one, label="other")), workspace, allowed, LocalLauncher(1), report, NOW)
    assert len(report.lines[0]) < 250


# Crashes

CRASHING = """
import os, pathlib, signal, sys
from dataclasses import replace
from components.data.annotations import LabelError
from components.data.ingest import ingest
from components.data.sources import open_source
from components.launcher.local import LocalLauncher
from components.params import load_params
from components.report import Silent
from components.workspace import Workspace
from tests.test_ingest import LATER, SMALL_SHARDS

def kill_before_rename(number):
    renames, rename = [], pathlib.Path.replace
    def counted(self, target):
        renames.append(target)
        if len(renames) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)
    pathlib.Path.replace = counted

source, *roots = map(pathlib.Path, sys.argv[1:])
for number, root in enumerate(roots, 1):
    child = os.fork()
    if child == 0:
        workspace = Workspace(root)
        params = replace(load_params(workspace.params).ingest, **SMALL_SHARDS)
        kill_before_rename(number)
        ingest(open_source(source), workspace, params, LocalLauncher(1), Silent(), LATER)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
SMALL_SHARDS = {"shard_mb": 1, "max_bad_share": 1.0}
RENAMES = 6  # 2 shards, quarantine, conflicts, labels, manifest


def grown_source(folder: Path) -> tuple[Path, Path]:
    """Two folders: images to begin with, and two shards of new ones, with a conflict of each kind and a bad file."""
    first = photos(folder / "first", cat__1=picture(1), cat__2=picture(2), dog__3=picture(3))
    second = photos(folder / "second", **{f"dog__{seed}": large(seed) for seed in range(10, 14)})
    photos(second, cat__4=picture(4), dog__4=picture(4), dog__1=picture(1), cat__2=picture(2), cat__bad=b"bad")
    return first, second


@pytest.fixture
def interrupted(workspace: Workspace, allowed: IngestParams, tmp_path: Path) -> tuple[Workspace, Path, dict[str, str]]:
    """A workspace with a first ingest, the source of a second, and what the second gives when nothing happens."""
    first, second = grown_source(tmp_path)
    take_in(workspace, first, allowed)
    whole = Workspace(shutil.copytree(workspace.root, tmp_path / "whole"))
    assert take_in(whole, second, replace(allowed, **SMALL_SHARDS), LATER) == Ingested(4, 1, 1, 2)
    assert len(list(whole.shards.iterdir())) == 3  # one of the first ingest
    return workspace, second, digests(whole)


def all_readable(workspace: Workspace) -> int:
    reader = ShardReader(workspace.shards)
    found = rows(workspace.manifest, MANIFEST)
    for row in found:
        assert reader.read(str(row["shard"]), int(str(row["row"])))
    return len(found)


def test_kill_9_at_any_point_and_the_same_command_again_give_the_same_dataset(
    interrupted: tuple[Workspace, Path, dict[str, str]], allowed: IngestParams, tmp_path: Path
) -> None:
    workspace, source, whole = interrupted
    copies = [Workspace(shutil.copytree(workspace.root, tmp_path / f"{n}")) for n in range(1, RENAMES + 2)]
    command = [sys.executable, "-c", CRASHING, str(source), *(str(copy.root) for copy in copies)]
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["-9"] * RENAMES + ["0"]
    for copy in copies[:-1]:
        assert all_readable(copy) == 3
        assert file_digest(copy.manifest) == file_digest(workspace.manifest)
        take_in(copy, source, replace(allowed, **SMALL_SHARDS), LATER)
    assert all(digests(copy) == whole for copy in copies)


def test_what_a_killed_run_left_is_swept_when_its_files_are_gone(
    workspace: Workspace, allowed: IngestParams, tmp_path: Path
) -> None:
    workspace.shards.mkdir()
    for name in ("shards/orphan.arrow", "shards/.half.arrow.7.tmp", ".manifest.parquet.7.tmp"):
        (workspace.data / name).write_bytes(b"half")
    take_in(workspace, photos(tmp_path / "photos", cat__1=picture(1)), allowed)
    (row,) = rows(workspace.manifest, MANIFEST)
    assert [path.name for path in workspace.shards.iterdir()] == [row["shard"]]
    assert not list(workspace.data.glob(".*"))


def test_a_full_disk_at_any_write_leaves_the_old_dataset(
    interrupted: tuple[Workspace, Path, dict[str, str]],
    allowed: IngestParams,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    workspace, source, whole = interrupted
    params = replace(allowed, **SMALL_SHARDS)
    for write in range(1, 2 * RENAMES + 1):  # of the file, then of its folder
        copy = Workspace(shutil.copytree(workspace.root, tmp_path / f"full-{write}"))
        with monkeypatch.context() as patch:
            calls = fail_sync(patch, at=write)
            with pytest.raises(IngestError, match=r"No space left on device.*run the same command again"):
                take_in(copy, source, params, LATER)
        assert len(calls) == write
        assert not list(copy.data.rglob("*.tmp"))
        assert all_readable(copy) == 3 or write == 2 * RENAMES
        take_in(copy, source, params, LATER)
        assert digests(copy) == whole


def fail_sync(patch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Let the disk be full at the given fsync; return the list of calls, growing."""
    calls: list[int] = []
    sync = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == at:
            raise OSError(28, "No space left on device")
        sync(handle)

    patch.setattr(os, "fsync", full)
    return calls
