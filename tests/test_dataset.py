"""Images come out in rows with their labels and splits, decoded once, and never from a half-written cache."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.data.dataset import DatasetError, ImageSet, load_images
from components.data.shards import write_shard
from components.data.tables import LABELS, MANIFEST, SPLITS, write_table
from components.launcher.local import LocalLauncher
from components.params import Params
from components.workspace import Workspace
from tests.conftest import ReportInMemory
from tests.drawing import draw, encode

SPLIT = {"a": "train", "b": "test", "c": "val", "d": "train", "e": "left_out"}
COLOURS = {"a": 10, "b": 60, "c": 110, "d": 160, "e": 210}  # grey of each picture


def fill(workspace: Workspace, names: str = "abcde", splits: dict[str, str] = SPLIT, label: str = "grey") -> None:
    """One shard a picture; the picture named x is of one colour, COLOURS[x]."""
    from PIL import Image

    rows: dict[str, list[dict[str, object]]] = {"manifest": [], "labels": [], "splits": []}
    for name in names:
        data = encode(Image.new("RGB", (20, 10), (COLOURS[name],) * 3))
        image_id = hashlib.sha256(name.encode()).hexdigest()
        shard = write_shard(workspace.shards, [(image_id, data)])
        rows["manifest"].append({"image_id": image_id, "shard": shard, "row": 0})
        rows["labels"].append({"image_id": image_id, "label": label})
        rows["splits"].append({"image_id": image_id, "split": splits[name]})
    for path, schema in ((workspace.manifest, MANIFEST), (workspace.labels, LABELS), (workspace.splits, SPLITS)):
        whole = [dict.fromkeys(schema.names) | row for row in rows[path.stem]]
        write_table(pa.Table.from_pylist(whole, schema=schema), path)


def load(
    workspace: Workspace, params: Params, *splits: str, workers: int = 1, report: ReportInMemory | None = None
) -> ImageSet:
    launcher = LocalLauncher(workers)
    report = report or ReportInMemory()
    return load_images(workspace, params.image, params.ingest, splits, launcher, report)


def greys(images: ImageSet) -> list[int]:
    """The colour of each picture, which says which one it is."""
    assert all(len(np.unique(pixels)) == 1 for pixels in images.pixels)
    return [int(pixels.flat[0]) for pixels in images.pixels]


def test_ids_labels_splits_and_pixels_belong_together(workspace: Workspace, params: Params):
    fill(workspace)
    images = load(workspace, params, "train", "val", "test")
    colour = {hashlib.sha256(name.encode()).hexdigest(): COLOURS[name] for name in "abcd"}
    assert greys(images) == [colour[name] for name in images.ids]
    assert sorted(images.splits) == ["test", "train", "train", "val"]
    assert images.labels == ["grey"] * 4
    assert images.pixels.shape == (4, 3, 32, 32)


def test_images_that_are_left_out_or_have_no_label_stay_away(workspace: Workspace, params: Params):
    fill(workspace)
    unlabelled = pa.Table.from_pylist([], schema=LABELS)
    assert COLOURS["e"] not in greys(load(workspace, params, "train", "val", "test"))
    write_table(unlabelled, workspace.labels)
    with pytest.raises(DatasetError, match="visionloop stage split"):
        load(workspace, params, "train")


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test"), ("val", "test"), ("test",)])
def test_only_the_splits_asked_for_come(workspace: Workspace, params: Params, splits: tuple[str, ...]):
    fill(workspace)
    images = load(workspace, params, *splits)
    assert set(images.splits) == set(splits)
    assert sorted(greys(images)) == sorted(COLOURS[name] for name in SPLIT if SPLIT[name] in splits)
    for split in splits:
        assert greys(images.of(split)) == [COLOURS[name] for name in sorted(SPLIT, key=digest) if SPLIT[name] == split]


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test")])
def test_what_the_stages_ask_for_is_mapped_and_never_copied(workspace: Workspace, params: Params, splits: tuple[str]):
    fill(workspace)
    images = load(workspace, params, *splits)
    assert isinstance(images.pixels, np.memmap)
    assert np.shares_memory(images.of("train").pixels, images.pixels)
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0] = 0


def test_a_second_stage_decodes_nothing(workspace: Workspace, params: Params):
    fill(workspace)
    load(workspace, params, "train", "val")
    for shard in workspace.shards.iterdir():
        shard.unlink()
    assert len(load(workspace, params, "train", "test")) == 3


def test_after_new_images_only_those_are_decoded(workspace: Workspace, params: Params):
    fill(workspace, "abc")
    load(workspace, params, "train")
    old = set(workspace.shards.iterdir())
    fill(workspace, "abcd")
    for shard in old:
        shard.unlink()
    assert sorted(greys(load(workspace, params, "train", "val", "test"))) == [10, 60, 110, 160]


def test_a_new_label_needs_no_decoding_and_a_new_size_does(workspace: Workspace, params: Params):
    fill(workspace)
    load(workspace, params, "train")
    fill(workspace, label="silver")
    assert len(list(workspace.pixels.iterdir())) == 1
    assert load(workspace, params, "train").labels == ["silver", "silver"]
    larger = replace(params, image=replace(params.image, size=48))
    assert load(workspace, larger, "train").pixels.shape == (2, 3, 48, 48)


def test_old_caches_are_removed(workspace: Workspace, params: Params):
    (workspace.pixels / ".left-by-a-crash.1.tmp").mkdir(parents=True)
    for names in ("abc", "abcd", "abcde"):
        fill(workspace, names, {**SPLIT, "e": "train"})
        load(workspace, params, "train")
    assert len(list(workspace.pixels.iterdir())) == 2


def test_the_data_version_changes_with_labels_and_splits(workspace: Workspace, params: Params):
    fill(workspace)
    before = load(workspace, params, "train").data_version
    assert before == load(workspace, params, "test").data_version
    fill(workspace, label="silver")
    relabelled = load(workspace, params, "train").data_version
    fill(workspace, label="silver", splits={**SPLIT, "e": "train"})
    assert len({before, relabelled, load(workspace, params, "train").data_version}) == 3


def test_an_image_that_no_longer_decodes_is_named_and_leaves_no_cache(workspace: Workspace, params: Params):
    fill(workspace)
    stricter = replace(params, ingest=replace(params.ingest, formats=("JPEG",)))
    with pytest.raises(DatasetError, match=r"unsupported_format.*undo that"):
        load(workspace, stricter, "train")
    assert not list(workspace.pixels.iterdir())


def test_workers_decode_the_same_pixels_as_this_process(workspace: Workspace, params: Params, report: ReportInMemory):
    pictures = [encode(draw("circle", seed, 12)) for seed in range(600)]
    ids = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    shard = write_shard(workspace.shards, list(zip(ids, pictures, strict=True)))
    columns = {
        workspace.manifest: (
            MANIFEST,
            [{"image_id": name, "shard": shard, "row": row} for row, name in enumerate(ids)],
        ),
        workspace.labels: (LABELS, [{"image_id": name, "label": "circle"} for name in ids]),
        workspace.splits: (SPLITS, [{"image_id": name, "split": "train"} for name in ids]),
    }
    for path, (schema, rows) in columns.items():
        write_table(pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema), path)
    alone = np.array(load(workspace, params, "train").pixels)
    for folder in workspace.pixels.iterdir():
        folder.rename(workspace.state / "set-aside")
    together = load(workspace, params, "train", workers=2, report=report)
    assert np.array_equal(alone, together.pixels)
