"""An inbox gives the files that are complete, and leaves those that are still growing for the next time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from components.data.annotations import one_label
from components.data.sources.inbox import SETTLED, InboxSource
from tests.annotated import boxes, coco, found_in, picture


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def inbox(tmp_path: Path, cache: Path, seconds_later: float) -> InboxSource:
    """The inbox as it is seen some seconds after its files were written."""
    return InboxSource(tmp_path / "in", one_label, cache, clock=lambda: time.time() + seconds_later)


def names(source: InboxSource) -> set[str]:
    return {found.name for found in source.files()}


def test_a_file_is_taken_when_it_has_not_changed_for_a_while(tmp_path, cache):
    picture(tmp_path / "in/cat/1.png", 1)
    assert names(inbox(tmp_path, cache, 0)) == set()
    assert names(inbox(tmp_path, cache, SETTLED + 1)) == {"cat/1.png"}


def test_a_file_that_claims_to_be_old_is_not_believed(tmp_path, cache):
    """Programs set the time of a copy to that of its original while they still write."""
    path = picture(tmp_path / "in/cat/1.png", 1)
    os.utime(path, (0, 0))
    assert names(inbox(tmp_path, cache, 0)) == set()


def test_a_file_that_grows_again_waits_again(tmp_path, cache):
    path = picture(tmp_path / "in/cat/1.png", 1)
    os.utime(path, (time.time() + 100, time.time() + 100))
    assert names(inbox(tmp_path, cache, SETTLED + 1)) == set()


@pytest.mark.parametrize("name", ["1.png.part", "1.png.tmp", "1.PNG.crdownload", "1.png~", ".1.png.x8Jk2s"])
def test_halves_are_known_by_their_names(tmp_path, cache, name):
    picture(tmp_path / "in/cat/1.png", 1).rename(tmp_path / "in/cat" / name)
    assert names(inbox(tmp_path, cache, SETTLED + 1)) == set()


def test_an_empty_inbox_is_no_mistake(tmp_path, cache):
    (tmp_path / "in").mkdir()
    assert names(inbox(tmp_path, cache, 0)) == set()
    assert found_in(tmp_path / "in", one_label, format="inbox", cache=cache) == []


def test_what_is_found_is_called_by_its_place_in_the_inbox(tmp_path, cache):
    picture(tmp_path / "in/cat/1.png", 1)
    (found,) = inbox(tmp_path, cache, SETTLED + 1).files()
    assert (found.place, found.said_by, found.label) == (str(tmp_path / "in/cat/1.png"), "in/cat/1.png", "cat")
    assert found.path.read_bytes() == (tmp_path / "in/cat/1.png").read_bytes()


def test_annotations_in_an_inbox_are_recognised(tmp_path, cache):
    picture(tmp_path / "in/a.png", 1)
    coco(tmp_path / "in/instances.json", {1: "a.png"}, [])
    source = InboxSource(tmp_path / "in", boxes, cache, clock=lambda: time.time() + 60)
    assert [found.label for found in source.files()] == ["[]"]
