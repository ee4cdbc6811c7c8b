"""A dataset that is written out and ingested again is the same dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.data.annotations import Box, Thing, areas_text, labels_text, run_lengths, things_text
from components.data.export_dataset import Exported, Tables, export_dataset
from components.data.ingest import ingest
from components.data.sources import Found, open_source
from components.data.tables import LABELS, MANIFEST, SPLITS, read_table, write_table
from components.data.writers import ExportError
from components.launcher.local import LocalLauncher
from components.params import Params
from components.report import Silent
from components.tasks import Task, task_named
from components.workspace import Workspace, create_workspace
from tests.annotated import HEIGHT, SIZE, WIDTH, picture

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FORMATS = ("coco", "voc", "yolo", "csv")
SPLITS_OF = ("train", "train", "val", "test")


def disc(left: int, right: int) -> str:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:20, left:right] = True
    return run_lengths(mask)


BOXES = (
    [
        Thing("red cell", Box(1.25, 2, 12.33, 23)),
        Thing("red cell", Box(0, 0, 40, 30)),
        Thing("white", Box(5, 5, 10, 10)),
    ],
    [Thing("white", Box(39.99, 29.98, 40, 30))],
    [],
    [Thing("ünïcode <&> 'x'", Box(0.01, 0.02, 0.03, 0.04))],
)
LABELS_OF: Mapping[str, list[str]] = {
    "classification": ["cat", "a/b | \"c\"; d", "NA", "01"],
    "multilabel": [labels_text(each) for each in (["cat", "dog"], ["dog"], [], ["emu, the", "NA"])],
    "detection": [things_text(each, SIZE) for each in BOXES],
    "segmentation": [
        areas_text({"road": disc(0, 20), "sky": disc(20, 40)}, SIZE),
        areas_text({"road": run_lengths(np.ones((HEIGHT, WIDTH), bool))}, SIZE),
        areas_text({"2 wheels": disc(3, 4)}, SIZE),
        areas_text({"background": disc(1, 39)}, SIZE),
    ],
}  # fmt: skip


class Given:
    """A source that says what it is told to say."""

    def __init__(self, folder: Path, labels: list[str], splits: tuple[str | None, ...]) -> None:
        paths = [picture(folder / f"{number % 2}/pic.{number // 2}.png", number) for number in range(len(labels))]
        self.found = [
            Found(path, str(path.relative_to(folder)), label, split)
            for path, label, split in zip(paths, labels, splits, strict=True)
        ]

    def files(self):
        yield from self.found


def filled(root: Path, task: str, params: Params, labels: list[str] | None = None, splits=SPLITS_OF) -> Workspace:
    workspace = create_workspace(root)
    take_in(workspace, Given(root / "given", labels or LABELS_OF[task], splits), task_named(task), params)
    return workspace


def take_in(workspace: Workspace, source, task: Task, params: Params):
    arguments = (workspace, params.ingest, LocalLauncher(1), Silent(), NOW, task.check, task.shown)
    return ingest(source, *arguments)


def export(workspace: Workspace, folder: Path, name: str, task: str) -> Exported:
    splits = workspace.splits if workspace.splits.exists() else None
    tables = Tables(workspace.manifest, workspace.labels, splits)
    read = task_named(task)
    return export_dataset(tables, workspace.shards, folder, name, read.label_of, read.check)


def contents(workspace: Workspace) -> dict[str, tuple[str, str | None]]:
    """Label and split of each image."""
    splits = {row["image_id"]: row["source_split"] for row in read_table(workspace.manifest, MANIFEST).to_pylist()}
    labels = {row["image_id"]: row["label"] for row in read_table(workspace.labels, LABELS).to_pylist()}
    return {image_id: (labels[image_id], split) for image_id, split in splits.items()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("task", LABELS_OF)
@pytest.mark.parametrize("splits", [SPLITS_OF, (None,) * 4, ("train", None, None, "val")], ids=["all", "none", "some"])
def test_a_round_trip_changes_nothing(tmp_path, params, task, name, splits):
    here = filled(tmp_path / "here", task, params, splits=splits)
    outcome = export(here, tmp_path / "out", name, task)
    assert str(outcome) == "4 images; read again, nothing has changed"
    there = create_workspace(tmp_path / "there")
    read = task_named(task)
    assert take_in(there, open_source(tmp_path / "out", read.label_of), read, params).quarantined == 0
    assert contents(there) == contents(here)


@pytest.mark.parametrize("name", FORMATS)
def test_masks_and_crowds_come_back_where_the_format_holds_them(tmp_path, params, name):
    things = [Thing("cat", Box(0, 5, 20, 20), disc(0, 20)), Thing("cat", Box(1, 2, 3, 4), crowd=True)]
    here = filled(tmp_path / "here", "detection", params, [things_text(things)], ("train",))
    outcome = export(here, tmp_path / "out", name, "detection")
    assert outcome.altered == (name in {"voc", "yolo"})
    assert ("masks, crowds" in str(outcome)) == (name in {"voc", "yolo"})


def test_images_keep_their_names_as_far_as_that_is_safe(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params)
    export(here, tmp_path / "out", "csv", "classification")
    names = sorted(path.name for path in (tmp_path / "out/images").iterdir())
    assert [name.partition("-")[0] for name in names] == ["pic_0", "pic_0.png", "pic_1", "pic_1.png"]


def test_splits_that_were_assigned_count_more_than_those_of_the_source(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params, splits=(None, "train", None, None))
    ids = read_table(here.manifest, MANIFEST)["image_id"].to_pylist()
    splits = ["test", "left_out", "train", "val"]
    rows = [{"image_id": i, "split": s, "group": i, "reason": ""} for i, s in zip(ids, splits, strict=True)]
    write_table(pa.Table.from_pylist(rows, schema=SPLITS), here.splits)
    export(here, tmp_path / "out", "csv", "classification")
    there = create_workspace(tmp_path / "there")
    take_in(there, open_source(tmp_path / "out"), task_named("classification"), params)
    found = contents(there)
    assert [found[image_id][1] for image_id in ids] == ["test", "train", "train", "val"]


def test_images_without_a_label_are_left_out_and_counted(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params)
    labels = read_table(here.labels, LABELS)
    write_table(labels.slice(1), here.labels)
    assert str(export(here, tmp_path / "out", "voc", "classification")).startswith(
        "3 images, 1 without a label left out"
    )


def test_a_folder_that_holds_something_is_not_written_into(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params)
    (tmp_path / "out").mkdir()
    export(here, tmp_path / "out", "voc", "classification")
    with pytest.raises(ExportError, match="out is not empty"):
        export(here, tmp_path / "out", "voc", "classification")


def test_what_fails_leaves_nothing_behind(tmp_path, params):
    here = filled(tmp_path / "here", "multilabel", params, [labels_text(["a|b"])], ("train",))
    with pytest.raises(ExportError, match=r"The label 'a\|b' holds '\|', which parts labels there. Use --format coco"):
        export(here, tmp_path / "out", "csv", "multilabel")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_dataset_without_labels_says_so(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params)
    write_table(LABELS.empty_table(), here.labels)
    with pytest.raises(ExportError, match="No image of this version has a label"):
        export(here, tmp_path / "out", "csv", "classification")


def test_yolo_has_folders_for_classifiers(tmp_path, params):
    here = filled(tmp_path / "here", "classification", params, ["cat", "dog", "cat", "dog"])
    export(here, tmp_path / "out", "yolo", "classification")
    assert {str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")} == {
        *("train/cat", "train/dog", "val/cat", "test/dog")
    }


def test_coco_is_what_its_own_tools_read(tmp_path, params):
    from pycocotools.coco import COCO

    here = filled(tmp_path / "here", "detection", params)
    export(here, tmp_path / "out", "coco", "detection")
    coco = COCO(str(tmp_path / "out/annotations/instances_train.json"))
    assert len(coco.getAnnIds(imgIds=coco.getImgIds(), catIds=coco.getCatIds(["red cell"]))) == 2
    content = json.loads((tmp_path / "out/annotations/instances_val.json").read_text())
    assert (len(content["images"]), content["annotations"]) == (1, [])


def test_more_classes_than_a_png_holds_are_refused_there(tmp_path, params):
    masks = [(np.arange(WIDTH * HEIGHT) == place).reshape(HEIGHT, WIDTH) for place in range(256)]
    label = areas_text({f"class {place}": run_lengths(mask) for place, mask in enumerate(masks)}, SIZE)
    here = filled(tmp_path / "here", "segmentation", params, [label], ("train",))
    with pytest.raises(ExportError, match=r"Found 256 classes; a mask PNG holds 255. Use --format coco"):
        export(here, tmp_path / "out", "voc", "segmentation")
    assert export(here, tmp_path / "out", "coco", "segmentation").altered == 0
