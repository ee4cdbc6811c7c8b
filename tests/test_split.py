"""Promises of components.data.split and components.data.shares: who gets which split, and that it never changes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.expectations import examine
from components.data.split import USED, SplitError, assign, split
from components.data.suites import splits_frame, splits_suite
from components.data.tables import LABELS, MANIFEST, SPLITS, empty_table, read_table, write_table
from components.params import load_params
from components.workspace import TEMPLATE
from tests.conftest import ReportInMemory
from tests.tables import image_row, label_row, labels_of, manifest_of

PARAMS = load_params(TEMPLATE / "params.yaml").split


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    label: str = "cat"
    looks_like: str = ""
    source_split: str | None = None
    origin: str = "source"


def _assign(items: list[Item], before: dict[str, str] | None = None, seed: int = 7) -> dict[str, str]:
    """The split of each item by name, given the splits of last time."""
    found, _ = assign(*_tables(items, before or {}), dataclasses.replace(PARAMS, seed=seed))
    name = {image_row(item.name)["image_id"]: item.name for item in items}
    return {name[row["image_id"]]: row["split"] for row in found.to_pylist()}


def _tables(items: list[Item], before: dict[str, str]):  # type: ignore[no-untyped-def]
    manifest = manifest_of(
        [image_row(each.name, each.looks_like, source_split=each.source_split, origin=each.origin) for each in items]
    )
    labels = labels_of([label_row(item.name, item.label) for item in items if item.label])
    rows = [
        {"image_id": image_row(name)["image_id"], "split": where, "group": "", "reason": "assigned"}
        for name, where in before.items()
    ]
    return manifest, labels, SPLITS.empty_table().from_pylist(rows, schema=SPLITS)


def _some(count: int, label: str = "cat", first: int = 0, **values: str) -> list[Item]:
    return [Item(f"{label} {number}", label, **values) for number in range(first, first + count)]


ITEMS = st.lists(
    st.builds(
        Item,
        name=st.integers(0, 10_000).map("image {}".format),
        label=st.sampled_from(["cat", "dog", "cow"]),
        looks_like=st.sampled_from(["", "", "", "a", "b", "c"]),
        source_split=st.sampled_from([None, None, None, "train", "val", "test"]),
        origin=st.sampled_from(["source", "source", "feedback"]),
    ),
    max_size=40,
    unique_by=lambda item: item.name,
)


@settings(max_examples=60, deadline=None)
@given(ITEMS, st.integers(0, 40))
def test_adding_images_never_moves_an_old_one_but_out_of_training_when_it_gives_the_test_away(
    items: list[Item], cut: int
) -> None:
    before = _assign(items[:cut])
    after = _assign(items, before)
    moved = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    assert set(moved.values()) <= {("train", "left_out"), ("val", "left_out")}
    looks = {item.name: item.looks_like for item in items}
    assert all(looks[name] for name in moved), "only near-duplicates may leave"


@settings(max_examples=60, deadline=None)
@given(ITEMS, st.integers(0, 40))
def test_near_duplicates_are_never_parted_and_a_source_never_loses_to_chance(items: list[Item], cut: int) -> None:
    after = _assign(items, _assign(items[:cut]))
    assert set(after) == {item.name for item in items}
    for look in "abc":
        assert len({after[item.name] for item in items if item.looks_like == look} & set(USED)) <= 1
    for item in items:
        if item.source_split in ("val", "test"):
            assert after[item.name] in (item.source_split, "left_out") or item.name in _assign(items[:cut])
        if item.source_split == "test" and item not in items[:cut]:
            assert after[item.name] == "test"


@settings(max_examples=20, deadline=None)
@given(ITEMS, st.randoms())
def test_the_same_images_in_another_order_get_the_same_splits(items: list[Item], random) -> None:  # type: ignore[no-untyped-def]
    mixed = random.sample(items, len(items))
    assert _assign(mixed) == _assign(items)


def test_running_again_changes_nothing_and_another_seed_draws_other_images() -> None:
    items = _some(100)
    first = _assign(items)
    assert _assign(items, first) == first
    assert _assign(items, seed=8) != first
    assert Counter(_assign(items, seed=8).values()) == Counter(first.values())


def test_every_class_keeps_its_proportions_from_the_first_version_to_the_last() -> None:
    splits: dict[str, str] = {}
    for size in (40, 43, 100, 300):
        items = _some(size, "cat") + _some(size // 4, "dog") + _some(2 * size, "cow")
        splits = _assign(items, splits)
        for label, number in {"cat": size, "dog": size // 4, "cow": 2 * size}.items():
            counts = Counter(splits[item.name] for item in items if item.label == label)
            for name, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
                assert abs(counts[name] - share * number) <= 2, (size, label, counts)


def test_a_sources_own_splits_win() -> None:
    items = (
        _some(10, source_split="train")
        + _some(10, first=10, source_split="val")
        + _some(3, first=20, source_split="test")
    )
    assert _assign(items) == {item.name: item.source_split for item in items}


def test_a_source_without_val_gives_some_of_its_training_images_and_no_test_image() -> None:
    items = _some(85, source_split="train") + _some(40, first=85, source_split="test")
    found = _assign(items)
    assert {found[item.name] for item in items[85:]} == {"test"}
    assert Counter(found[item.name] for item in items[:85]) == {"train": 70, "val": 15}


def test_what_looks_like_a_test_image_leaves_training_and_stays_listed() -> None:
    items = [
        *_some(10, source_split="train"),
        Item("old copy", looks_like="x"),
        Item("official", looks_like="x", source_split="test"),
        Item("copy in the train folder", looks_like="x", source_split="train"),
        Item("copy elsewhere", looks_like="x"),
    ]
    found = _assign(items, {"old copy": "train"})
    assert [found[item.name] for item in items[10:]] == ["left_out", "test", "left_out", "test"]


def test_a_bridge_between_training_and_test_goes_to_the_test_and_the_training_side_is_left_out() -> None:
    """Two pictures are no near-duplicates of each other, but a third is one of both."""
    rows = [image_row("one"), image_row("two"), image_row("bridge")]
    levels = {"one": 100, "two": 116, "bridge": 108}  # of grey: the limit is 10 of 255
    for row, level in zip(rows, levels.values(), strict=True):
        row |= {"phash": 9, "thumbnail": bytes([level]) * 256}
    labels = labels_of([label_row(name, "cat") for name in levels])
    _, _, before = _tables([], {"one": "train", "two": "test"})
    apart, _ = assign(manifest_of(rows[:2]), labels, before, PARAMS)
    assert {row["image_id"]: row["split"] for row in apart.to_pylist()} == {
        rows[0]["image_id"]: "train",
        rows[1]["image_id"]: "test",
    }
    linked, _ = assign(manifest_of(rows), labels, before, PARAMS)
    assert {row["image_id"]: (row["split"], row["reason"]) for row in linked.to_pylist()} == {
        rows[0]["image_id"]: ("left_out", "leak"),
        rows[1]["image_id"]: ("test", "assigned"),
        rows[2]["image_id"]: ("test", "group"),
    }


def test_a_bridge_between_training_and_val_goes_to_val() -> None:
    items = [Item("one", looks_like="x"), Item("two", looks_like="x"), Item("new", looks_like="x")]
    found = _assign(items, {"one": "train", "two": "val"})
    assert found == {"one": "left_out", "two": "val", "new": "val"}


def test_feedback_brings_its_own_share_to_the_test_also_one_image_a_class_at_a_time() -> None:
    old = [item for label in "abcdefghij" for item in _some(40, label)]
    splits = _assign(old)
    items = list(old)
    for round_ in range(10):
        items += [Item(f"feedback {round_} {label}", label, origin="feedback") for label in "abcdefghij"]
        splits = _assign(items, splits)
    counts = Counter(splits[item.name] for item in items if item.origin == "feedback")
    assert abs(counts["train"] - 50) <= 3, counts
    assert abs(counts["test"] - 35) <= 3, counts
    assert {item.name: splits[item.name] for item in old} == _assign(old)


def test_an_image_in_dispute_gets_no_split_but_keeps_the_one_that_it_has() -> None:
    items = [*_some(20), Item("disputed", label=""), Item("was clear", label="")]
    found = _assign(items, {"was clear": "test"})
    assert "disputed" not in found
    assert found["was clear"] == "test"


def test_a_class_of_three_pictures_is_in_every_split() -> None:
    assert sorted(_assign(_some(3)).values()) == ["test", "train", "val"]


def test_a_whole_dataset_is_split_written_and_told(tmp_path: Path, report: ReportInMemory) -> None:
    items = [*_some(60), *_some(60, "dog"), Item("copy of cat 1", looks_like="cat 1"), Item("unfinished", "dog")]
    manifest, labels, _ = _tables(items[:-1], {})
    _, labels_of_a_cut_off_ingest, _ = _tables(items, {})
    assert len(labels_of_a_cut_off_ingest) == len(labels) + 1
    paths = [tmp_path / f"{name}.parquet" for name in ("manifest", "labels", "splits")]
    write_table(manifest, paths[0])
    write_table(labels_of_a_cut_off_ingest, paths[1])
    counts = split(*paths, PARAMS, report)
    written = read_table(paths[2], SPLITS)
    assert counts == {name: written["split"].to_pylist().count(name) for name in (*USED, "left_out")}
    assert sum(counts.values()) == 121
    assert [row["class"] for row in report.tables["splits"]] == ["cat", "dog"]
    first = paths[2].read_bytes()
    split(*paths, PARAMS, report)
    assert paths[2].read_bytes() == first


def test_classes_too_small_to_split_are_all_named_with_what_to_do_and_nothing_is_written(
    tmp_path: Path, report: ReportInMemory
) -> None:
    copies = [Item(f"copy {number}", "owl", looks_like="owl") for number in range(9)]
    manifest, labels, _ = _tables([*_some(30), *_some(2, "<b>ant"), *copies], {})
    write_table(manifest, tmp_path / "manifest.parquet")
    write_table(labels, tmp_path / "labels.parquet")
    with pytest.raises(
        SplitError, match=r"(?s)2 class.*'<b>ant'.*'owl' is in no val and no test.*Add different pictures"
    ):
        split(*(tmp_path / f"{name}.parquet" for name in ("manifest", "labels", "splits")), PARAMS, report)
    assert not (tmp_path / "splits.parquet").exists()


GOOD = {
    f"{label} {number}": (label, USED[number % 3], f"group {label}{number}")
    for label in ("cat", "dog")
    for number in range(3)
}
PLANTED = {
    "split_filled": {"cat 0": ("cat", None, None)},
    "known_split": {"cat 0": ("cat", "training", "x")},
    "classes_in_splits": {"dog 2": ("dog", "left_out", "x")},
    "groups_apart": {"dog 0": ("dog", "train", "both"), "dog 1": ("dog", "val", "both")},
}


def _failing(rows: dict[str, tuple[str, str | None, str | None]], twice: tuple[str, ...] = ()) -> list[str]:
    names = [*rows, *twice]
    splits = [
        {"image_id": name, "split": rows[name][1], "group": rows[name][2], "reason": "assigned"}
        for name in names
        if rows[name][1]
    ]
    labels = labels_of([{**label_row(name, rows[name][0]), "image_id": name} for name in rows])
    frame = splits_frame(empty_table(SPLITS).from_pylist(splits, schema=SPLITS), labels)
    return [each.name for each in examine(frame, splits_suite()) if not each.passed]


def test_the_splits_suite_passes_good_splits() -> None:
    assert _failing(GOOD) == []


@pytest.mark.parametrize("name", PLANTED)
def test_the_splits_suite_finds_a_planted_failure(name: str) -> None:
    assert name in _failing(GOOD | PLANTED[name])  # type: ignore[operator]


def test_the_splits_suite_finds_an_image_in_two_splits_and_empty_splits() -> None:
    assert _failing(GOOD, twice=("cat 1",)) == ["one_split"]
    assert "rows" in _failing({})


def test_every_critical_expectation_of_the_splits_suite_has_a_planted_failure() -> None:
    critical = {check.name for check in splits_suite() if check.severity == "critical"}
    assert critical == set(PLANTED) | {"one_split", "rows"}


def test_tables_are_declared_as_they_are_written() -> None:
    assert manifest_of([image_row("a")]).schema == MANIFEST
    assert labels_of([label_row("a", "cat")]).schema == LABELS
