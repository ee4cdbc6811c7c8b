"""Whatever is wrong with an annotation: its image is quarantined with file, place and reason, the others are added."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.ingest import Ingested, IngestError, ingest
from components.data.sources import open_source
from components.data.tables import LABELS, MANIFEST, QUARANTINE, read_table
from components.launcher.local import LocalLauncher
from components.params import Params
from components.report import Silent
from components.tasks import task_named
from components.workspace import Workspace
from tests.annotated import CATEGORIES, HEIGHT, WIDTH, coco, mask, picture, pictures, voc, voc_object, written
from tests.test_ingest import NOW

GOOD = 3
Broken = Callable[[Path], object]  # adds what is wrong to a folder of good files


def take_in(workspace: Workspace, path: Path, task: str, params: Params, share: float = 1.0) -> Ingested:
    read = task_named(task)
    source = open_source(path, read.label_of, cache=workspace.state / "sources")
    allowed = replace(params.ingest, max_bad_share=share)
    return ingest(source, workspace, allowed, LocalLauncher(1), Silent(), NOW, read.check, read.shown)


def quarantine(workspace: Workspace, root: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail by path, relative to `root`."""
    rows = read_table(workspace.quarantine, QUARANTINE).to_pylist()
    return {row["path"].removeprefix(f"{root}/"): (row["reason"], row["detail"]) for row in rows}


def box(image: int, *corner_and_size: float, category: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(corner_and_size), **more}


def coco_set(folder: Path, *annotations: dict[str, Any], images: int = GOOD + 1, categories: Any = CATEGORIES) -> Path:
    """GOOD pictures with a good box each, and with `annotations`, most of which are of picture 4."""
    names = {number: f"{number}.png" for number in range(1, images + 1)}
    for number, name in names.items():
        picture(folder / name, number)
    good = [box(number, 1, 1, 9, 9, category=number % 2 + 1) for number in range(1, GOOD + 1)]
    coco(folder / "list.json", names, [*good, *annotations], categories)
    return folder


COCO_CASES = {
    "box outside the image": (box(4, 35, 1, 9, 9), "bad_box", "lies outside its image of 40 x 30 px"),
    "box without area": (box(4, 5, 1, 0, 9), "bad_box", "has no area"),
    "swapped corners": (box(4, 9, 9, -5, -5), "bad_box", "has swapped corners"),
    "no number": (box(4, float("nan"), 1, 9, 9), "bad_box", "has an edge that is no number"),
    "crossing polygon": (box(4, 1, 1, 9, 9, segmentation=[[1, 1, 9, 9, 9, 1, 1, 9]]), "bad_polygon", "crosses itself"),
    "mask of another size": (
        box(4, 1, 1, 9, 9, segmentation={"size": [9, 9], "counts": [81]}),
        "bad_mask",
        "mask of size [9, 9], expected [height, width] = [30, 40]",
    ),
    "missing category": (box(4, 1, 1, 9, 9, category=9), "bad_category", "field category_id: found 9"),
}


@pytest.mark.parametrize("task", ["detection", "multilabel"])
@pytest.mark.parametrize("case", COCO_CASES)
def test_an_annotation_of_coco_that_cannot_be(workspace, params, tmp_path, case, task):
    annotation, reason, said = COCO_CASES[case]
    root = coco_set(tmp_path / "set", annotation)
    assert str(take_in(workspace, root, task, params)).startswith("3 added, 0 already known, 1 quarantined")
    ((name, (found, detail)),) = quarantine(workspace, root).items()
    assert (name, found) == ("4.png", reason)
    assert detail.startswith("list.json, images[3] (id 4): annotations[3] (id 4), ")
    assert said in detail


def test_annotations_of_one_id_are_refused_with_both_images(workspace, params, tmp_path):
    root = coco_set(tmp_path / "set", box(4, 1, 1, 9, 9, id=3))
    assert take_in(workspace, root, "detection", params) == Ingested(2, 0, 2, 0)
    assert {name: said[0] for name, said in quarantine(workspace, root).items()} == dict.fromkeys(
        ("3.png", "4.png"), "duplicate_id"
    )


def test_an_annotation_without_image_is_missing_it(workspace, params, tmp_path):
    root = coco_set(tmp_path / "set", box(77, 1, 1, 9, 9), images=GOOD)
    assert take_in(workspace, root, "detection", params) == Ingested(3, 0, 1, 0)
    assert quarantine(workspace, root) == {
        "list.json#annotations[3] (id 4)": (
            "missing",
            "list.json, annotations[3] (id 4): field image_id: no image has the id 77",
        )
    }


def test_an_image_of_a_list_that_is_not_there_is_missing(workspace, params, tmp_path):
    root = coco_set(tmp_path / "set")
    (root / "4.png").unlink()
    assert take_in(workspace, root, "detection", params) == Ingested(3, 0, 1, 0)
    assert quarantine(workspace, root)["list.json#4.png"] == (
        "missing",
        "list.json, images[3] (id 4), path 4.png: No such file or directory",
    )


def test_images_without_annotation_are_backgrounds_and_kept(workspace, params, tmp_path):
    assert take_in(workspace, coco_set(tmp_path / "set"), "detection", params) == Ingested(4, 0, 0, 0)
    assert "[]" in read_table(workspace.labels, LABELS)["label"].to_pylist()


def test_a_category_that_is_there_twice_is_refused_where_it_is_used(workspace, params, tmp_path):
    twice = [*CATEGORIES, {"id": 3, "name": "emu"}, {"id": 3, "name": "ostrich"}]
    root = coco_set(tmp_path / "set", box(4, 1, 1, 9, 9, category=3), categories=twice)
    assert take_in(workspace, root, "detection", params) == Ingested(3, 0, 1, 0)
    assert "category 3 is there twice" in quarantine(workspace, root)["4.png"][1]


def test_a_box_outside_its_image_is_quarantined_with_file_and_line(workspace, params, tmp_path):
    root = tmp_path / "set"
    for number in range(GOOD + 1):
        picture(root / f"{number}.png", number)
        voc(
            root / f"{number}.xml",
            voc_object("cat", 1, 1, 9, 9),
            voc_object("cat", 1, 1, 44 if number == GOOD else 9, 9),
        )
    assert take_in(workspace, root, "detection", params) == Ingested(3, 0, 1, 0)
    assert quarantine(workspace, root) == {
        "3.png": (
            "bad_box",
            "set/3.xml: line 4, field bndbox: box [1.0, 1.0, 44.0, 9.0] of 'cat' lies outside its image of 40 x 30 px",
        )
    }


def test_annotations_made_for_another_size_are_quarantined(workspace, params, tmp_path):
    root = tmp_path / "set"
    for number in range(GOOD + 1):
        picture(root / f"{number}.png", number)
        voc(root / f"{number}.xml", voc_object("cat", 1, 1, 9, 9), size=(80, 60) if number == GOOD else (WIDTH, HEIGHT))
    assert take_in(workspace, root, "detection", params) == Ingested(3, 0, 1, 0)
    assert quarantine(workspace, root)["3.png"] == (
        "bad_size",
        "set/3.xml: made for an image of 80 x 60 px; the image has 40 x 30 px, upright",
    )


def mask_set(folder: Path, values: Any) -> Path:
    """GOOD pictures with masks of the classes 0 and 1, and one with `values`."""
    good = np.zeros((HEIGHT, WIDTH))
    good[:9] = 1
    for number in range(GOOD + 1):
        picture(folder / f"images/{number}.png", number)
        mask(folder / f"masks/{number}.png", values if number == GOOD else good)
    written(folder / "classes.txt", "0 sky\n1 road\n")
    return folder


@pytest.mark.parametrize(
    ("values", "reason", "said"),
    [
        (np.zeros((5, 5)), "bad_size", "set/masks/3.png: made for an image of 5 x 5 px; the image has 40 x 30 px"),
        (
            np.full((HEIGHT, WIDTH), 9),
            "bad_mask",
            "set/masks/3.png: found values 9 (1200 px), expected those of classes.txt",
        ),
        (np.full((HEIGHT, WIDTH), 255), "no_label", "set/masks/3.png: no pixel has a class"),
    ],
)
def test_a_mask_that_does_not_fit_is_quarantined(workspace, params, tmp_path, values, reason, said):
    root = mask_set(tmp_path / "set", values)
    assert take_in(workspace, root, "segmentation", params) == Ingested(3, 0, 1, 0)
    found, detail = quarantine(workspace, root)["images/3.png"]
    assert found == reason
    assert detail.startswith(said)


# When the run stops after all


def test_more_than_the_allowed_share_stops_the_run(workspace, params, tmp_path):
    root = coco_set(tmp_path / "set", box(4, 1, 1, 0, 9))
    with pytest.raises(
        IngestError, match=r"1 of 4 files cannot be used \(1 bad_box\); ingest.max_bad_share allows 20.0%"
    ):
        take_in(workspace, root, "detection", params, share=0.2)
    assert not workspace.manifest.exists()
    assert list(quarantine(workspace, root)) == ["4.png"]


def test_a_class_of_which_every_image_is_refused_stops_the_run(workspace, params, tmp_path):
    emu = [*CATEGORIES, {"id": 3, "name": "emu"}]
    root = coco_set(tmp_path / "set", box(4, 1, 1, 0, 9, category=3), categories=emu)
    with pytest.raises(IngestError, match=r"is left of 1 class\(es\): 'emu' \(1 refused\)"):
        take_in(workspace, root, "detection", params)
    assert not workspace.manifest.exists()


@pytest.mark.parametrize("kind", ["voc", "yolo", "table"])
def test_a_class_of_refused_files_is_missed_in_every_format(workspace, params, tmp_path, kind):
    root = tmp_path / "set"
    boxes = {0: "cat", 1: "emu"}
    for number, name in boxes.items():
        picture(root / f"images/{number}.png", number)
        right = 9 if name == "cat" else 1
        if kind == "voc":
            voc(root / f"{number}.xml", voc_object(name, 1, 1, right, 9))
        elif kind == "yolo":
            written(root / f"labels/{number}.txt", f"{number} .5 .5 {0.2 if name == 'cat' else 0} .2")
    if kind == "yolo":
        written(root / "classes.txt", "cat\nemu\n")
    if kind == "table":
        rows = "images/0.png,cat,1,1,9,9\nimages/1.png,emu,1,1,1,9\n"
        written(root / "set.csv", f"path,label,left,top,right,bottom\n{rows}")
    with pytest.raises(IngestError, match=r"is left of 1 class\(es\): 'emu' \(1 refused\)"):
        take_in(workspace, root, "detection", params)


def test_a_table_of_a_spreadsheet_with_a_class_called_na(workspace, params, tmp_path):
    """BOM, semicolons and a class that other programs take for nothing."""
    root = pictures(tmp_path / "set", *(f"images/{number}.png" for number in range(4)))
    rows = "".join(f"images/{number}.png;{'NA' if number % 2 else 'null'}\r\n" for number in range(4))
    (root / "labels.csv").write_bytes(b"\xef\xbb\xbf" + f"path;label\r\n{rows}".encode())
    assert take_in(workspace, root / "labels.csv", "classification", params) == Ingested(4, 0, 0, 0)
    assert sorted(read_table(workspace.labels, LABELS)["label"].to_pylist()) == ["NA", "NA", "null", "null"]


def test_what_was_mended_leaves_quarantine(workspace, params, tmp_path):
    root = coco_set(tmp_path / "set", box(4, 1, 1, 0, 9))
    take_in(workspace, root, "detection", params)
    content = json.loads((root / "list.json").read_text())
    content["annotations"][3]["bbox"] = [1, 1, 5, 9]
    written(root / "list.json", json.dumps(content))
    assert take_in(workspace, root, "detection", params) == Ingested(1, 3, 0, 0)
    assert quarantine(workspace, root) == {}
    assert read_table(workspace.manifest, MANIFEST).num_rows == 4
