"""An inbox gives the files that are complete, and leaves those that are still growing for the next time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from components.data.annotations import one_label
from components.data.sources import inbox
from components.data.sources.inbox import SETTLED, InboxSource
from tests.annotated import boxes, coco, found_in, picture


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some time pass after the files were written."""
    now = time.time

    class Later:
        time = staticmethod(lambda: now() + SETTLED + 1)

    monkeypatch.setattr(inbox, "time", Later)


def taken(tmp_path: Path, cache: Path) -> set[str]:
    return {found.name for found in InboxSource(tmp_path / "in", one_label, cache).files()}


def test_a_file_that_is_still_warm_waits(tmp_path, cache):
    picture(tmp_path / "in/cat/1.png", 1)
    assert taken(tmp_path, cache) == set()


@pytest.mark.usefixtures("later")
def test_a_file_is_taken_when_it_has_not_changed_for_a_while(tmp_path, cache):
    picture(tmp_path / "in/cat/1.png", 1)
    assert taken(tmp_path, cache) == {"cat/1.png"}


def test_a_file_that_claims_to_be_old_is_not_believed(tmp_path, cache):
    """Programs set the time of a copy to that of its original while they still write."""
    path = picture(tmp_path / "in/cat/1.png", 1)
    os.utime(path, (0, 0))
    assert taken(tmp_path, cache) == set()


@pytest.mark.usefixtures("later")
def test_a_file_that_changed_again_waits_again(tmp_path, cache):
    path = picture(tmp_path / "in/cat/1.png", 1)
    os.utime(path, (time.time() + 100, time.time() + 100))
    assert taken(tmp_path, cache) == set()


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("name", ["1.png.part", "1.png.tmp", "1.PNG.crdownload", "1.png~", ".1.png.x8Jk2s"])
def test_halves_are_known_by_their_names(tmp_path, cache, name):
    picture(tmp_path / "in/cat/1.png", 1).rename(tmp_path / "in/cat" / name)
    assert taken(tmp_path, cache) == set()


def test_an_empty_inbox_is_no_mistake(tmp_path, cache):
    (tmp_path / "in").mkdir()
    assert found_in(tmp_path / "in", one_label, format="inbox", cache=cache) == []


@pytest.mark.usefixtures("later")
def test_what_is_found_is_called_by_its_place_in_the_inbox(tmp_path, cache):
    picture(tmp_path / "in/cat/1.png", 1)
    (found,) = InboxSource(tmp_path / "in", one_label, cache).files()
    assert (found.place, found.said_by, found.label) == (str(tmp_path / "in/cat/1.png"), "in/cat/1.png", "cat")
    assert found.path.read_bytes() == (tmp_path / "in/cat/1.png").read_bytes()


@pytest.mark.usefixtures("later")
def test_annotations_in_an_inbox_are_recognised(tmp_path, cache):
    picture(tmp_path / "in/a.png", 1)
    coco(tmp_path / "in/instances.json", {1: "a.png"}, [])
    assert [found.label for found in InboxSource(tmp_path / "in", boxes, cache).files()] == ["[]"]
