"""A batch on its way into the dataset: labels exact, marked as made, for training alone, and out again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.data.annotations import things_in
from components.data.ingest import ingest
from components.data.sources import open_source
from components.data.split import assign
from components.data.tables import LABELS, MANIFEST, SPLITS, read_table, write_table
from components.launcher.local import LocalLauncher
from components.params import Params
from components.report import Silent
from components.synthesis import SynthesisError
from components.synthesis.batch import BatchSource, make_image, write_batch
from components.synthesis.keeping import made_images, withdraw
from components.synthesis.originals import originals
from components.tasks import task_named
from components.workspace import Workspace
from tests.conftest import ReportInMemory
from tests.cutting import PLAIN, cutout_of, grey, noise, stock
from tests.drawing import draw_folder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KIT = stock([cutout_of("circle"), cutout_of("square")], [noise(place, 64) for place in range(4)], single=True)
TASK = task_named("classification")


def take_in(workspace: Workspace, params: Params, source: object) -> str:
    launcher = LocalLauncher(1)
    found = ingest(source, workspace, params.ingest, launcher, Silent(), NOW, TASK.check, TASK.shown)  # type: ignore[arg-type]
    return str(found)


@pytest.fixture
def with_photos(workspace: Workspace, params: Params, tmp_path: Path) -> Workspace:
    """20 real images of each of two classes, with splits."""
    folder = draw_folder(tmp_path / "photos", per_class=20, shapes=("circle", "square"))
    take_in(workspace, params, open_source(folder))
    split(workspace, params)
    return workspace


def split(workspace: Workspace, params: Params) -> dict[str, str]:
    before = read_table(workspace.splits, SPLITS) if workspace.splits.exists() else SPLITS.empty_table()
    tables = read_table(workspace.manifest, MANIFEST), read_table(workspace.labels, LABELS)
    table, _ = assign(*tables, before, params.split, TASK.shown)
    write_table(table, workspace.splits)
    return dict(zip(table["image_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_a_batch_is_a_folder_of_images_with_a_line_of_labels_each(tmp_path):
    write_batch(KIT, PLAIN, tmp_path / "out", Silent())
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"{number:06d}.png" for number in range(PLAIN.images)]
    for number, row in enumerate(rows):
        made = make_image(KIT, number, PLAIN)
        picture = np.asarray(Image.open(tmp_path / "out" / row["path"]))
        assert np.array_equal(picture, made.composite.picture)
        assert row["labels"] == list(made.said.labels)
        assert row["made_of"].startswith(f"synthesis 7/{number:06d}: ")


def test_the_same_batch_again_is_the_same_to_the_byte(tmp_path):
    for name in ("one", "two"):
        write_batch(KIT, PLAIN, tmp_path / name, Silent())
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == PLAIN.images + 1
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_batch_becomes_labels_of_kind_synthetic_that_only_ever_train(with_photos, params, tmp_path):
    write_batch(KIT, replace(PLAIN, images=30), tmp_path / "out", Silent())
    source = BatchSource(tmp_path / "out", TASK.label_of)
    before = split(with_photos, params)
    assert take_in(with_photos, params, source).startswith("30 added")
    made = made_images(with_photos.labels)
    assert made == source.image_ids()
    after = split(with_photos, params)
    assert {after[name] for name in made} <= {"train", "left_out"}
    assert sum(after[name] == "train" for name in made) >= 25
    assert {name: after[name] for name in before} == before  # no real image moved
    manifest = read_table(with_photos.manifest, MANIFEST).to_pylist()
    assert {row["origin"] for row in manifest if row["image_id"] in made} == {"synthetic"}
    labels = {row["image_id"]: row for row in read_table(with_photos.labels, LABELS).to_pylist()}
    assert all(labels[name]["source"].startswith("synthesis 7/") for name in made)


def test_a_made_image_that_nearly_is_a_val_or_test_image_is_left_out(with_photos, params):
    splits = split(with_photos, params)
    held = [name for name, where in splits.items() if where in ("val", "test")]
    table = read_table(with_photos.manifest, MANIFEST)
    [row] = [row for row in table.to_pylist() if row["image_id"] == held[0]]
    copy = {**row, "image_id": "f" * 64, "origin": "synthetic", "source_split": None}
    write_table(pa.concat_tables([table, pa.Table.from_pylist([copy], schema=MANIFEST)]), with_photos.manifest)
    labels = read_table(with_photos.labels, LABELS)
    said = {**labels.to_pylist()[0], "image_id": "f" * 64, "kind": "synthetic"}
    write_table(pa.concat_tables([labels, pa.Table.from_pylist([said], schema=LABELS)]), with_photos.labels)
    after = split(with_photos, params)
    assert after["f" * 64] == "left_out"
    assert {name: after[name] for name in splits} == splits


def test_what_is_withdrawn_leaves_the_dataset_and_comes_back_when_made_again(with_photos, params, tmp_path):
    write_batch(KIT, PLAIN, tmp_path / "out", Silent())
    source = BatchSource(tmp_path / "out", TASK.label_of)
    real = set(read_table(with_photos.manifest, MANIFEST)["image_id"].to_pylist())
    take_in(with_photos, params, source)
    keep = sorted(made_images(with_photos.labels))[:2]
    assert withdraw(with_photos, keep) == PLAIN.images - 2
    assert withdraw(with_photos, keep) == 0
    for path, schema in ((with_photos.manifest, MANIFEST), (with_photos.labels, LABELS)):
        assert set(read_table(path, schema)["image_id"].to_pylist()) == real | set(keep)
    assert set(split(with_photos, params)) == real | set(keep)
    assert take_in(with_photos, params, source).startswith(f"{PLAIN.images - 2} added, 2 already known")


def test_only_real_training_images_are_taken_apart(with_photos, params, tmp_path):
    write_batch(KIT, PLAIN, tmp_path / "out", Silent())
    take_in(with_photos, params, BatchSource(tmp_path / "out", TASK.label_of))
    splits, made = split(with_photos, params), made_images(with_photos.labels)
    found = originals(with_photos, params.ingest, seed=1)
    assert {image.image_id for image in found} == {n for n, where in splits.items() if where == "train"} - made
    assert [each.image_id for each in found] == [each.image_id for each in originals(with_photos, params.ingest, 1)]
    assert [each.image_id for each in found] != [each.image_id for each in originals(with_photos, params.ingest, 2)]
    assert found[0].picture().shape == (32, 32, 3)
    assert (found[0].things(), found[0].areas()) == (None, None)


def test_the_label_of_a_detector_has_each_object_with_its_box_and_mask(tmp_path):
    kit = stock([cutout_of("circle"), cutout_of("square", by_box=True)], [grey()])
    write_batch(kit, PLAIN, tmp_path / "out", Silent())
    for number, found in enumerate(BatchSource(tmp_path / "out", task_named("detection").label_of).files()):
        things, objects = things_in(found.label), make_image(kit, number, PLAIN).composite.objects
        assert (found.origin, found.size) == ("synthetic", (160, 120))
        assert sorted((thing.label, thing.box) for thing in things) == sorted(
            (each.cutout.label, each.box) for each in objects
        )
        assert all(bool(thing.mask) == (thing.label == "circle") for thing in things)  # a box is no outline


def test_backgrounds_on_which_nothing_shows_stop_with_advice(tmp_path):
    tiny = stock([cutout_of("circle")], [grey()])
    with pytest.raises(
        SynthesisError, match=r"No object shows on the background plain \(160 x 120 px\).*synthesize.size"
    ):
        make_image(tiny, 0, replace(PLAIN, size=(0.001, 0.001)))
    assert not list(tmp_path.iterdir())


def test_progress_is_told(tmp_path):
    told: list[tuple[int, int]] = []

    class Counting(ReportInMemory):
        def progress(self, done: int, total: int, what: str) -> None:  # noqa: ARG002
            told.append((done, total))

    write_batch(KIT, replace(PLAIN, images=3), tmp_path / "out", Counting())
    assert told == [(1, 3), (2, 3), (3, 3)]
