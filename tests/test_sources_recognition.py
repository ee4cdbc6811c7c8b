"""A layout is recognised by looking, or named; where it cannot be told, nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.annotations import one_label
from components.data.sources import SourceError, open_source
from tests.annotated import HEIGHT, WIDTH, areas, boxes, coco, labels, mask, pictures, voc, voc_object, written


def kind(path, read=labels, **options) -> str:
    return type(open_source(path, read, **options)).__name__.removesuffix("Source")


def mistake(path, read=labels, **options) -> str:
    with pytest.raises(SourceError) as caught:
        list(open_source(path, read, **options).files())
    return str(caught.value)


@pytest.fixture
def everything(tmp_path):
    """Pictures that are described in three ways."""
    pictures(tmp_path, "images/a.png")
    voc(tmp_path / "annotations/a.xml", voc_object("cat", 2, 3, 12, 23))
    written(tmp_path / "labels/a.txt", "0 .5 .5 .1 .1")
    mask(tmp_path / "masks/a.png", np.zeros((HEIGHT, WIDTH)))
    return tmp_path


def test_each_layout_is_known_by_its_files(tmp_path):
    pictures(
        tmp_path, "folder/cat/a.png", "voc/a.png", "yolo/images/train/a.png", "masks/train/images/a.png", "coco/a.png"
    )
    voc(tmp_path / "voc/a.xml")
    written(tmp_path / "yolo/labels/train/a.txt", "")
    mask(tmp_path / "masks/train/masks/a.png", [[0]])
    coco(tmp_path / "coco/train/list.json", {1: "a.png"}, [])
    written(tmp_path / "table/labels.csv", "path,label\n")
    written(tmp_path / "studio/export.json", '[{"data": {"image": "a.png"}, "annotations": []}]')
    written(tmp_path / "names/data.yaml", "names: [cat]")
    expected = {
        "folder": "Folder",
        "voc": "Voc",
        "yolo": "Yolo",
        "masks": "Mask",
        "coco": "Coco",
        "table": "Table",
        "studio": "LabelStudio",
        "names": "Yolo",
        "names/data.yaml": "Yolo",
        "table/labels.csv": "Table",
        "coco/train/list.json": "Coco",
        "studio/export.json": "LabelStudio",
    }
    assert {name: kind(tmp_path / name) for name in expected} == expected


def test_of_several_layouts_the_task_takes_what_it_needs(everything):
    assert kind(everything, areas) == "Mask"


def test_where_several_fit_nothing_is_guessed(everything):
    said = mistake(everything, boxes)
    assert "may be voc or yolo; say which with --format" in said
    assert kind(everything, boxes, format="voc") == "Voc"
    assert kind(everything, boxes, format="yolo") == "Yolo"


def test_folders_of_labels_with_odd_names_stay_folders(tmp_path):
    pictures(tmp_path, "labels/a.png", "masks/b.png", "images/c.png")
    written(tmp_path / "notes.json", '{"hello": []}')
    written(tmp_path / "annotations/pom.xml", "<project/>")
    assert kind(tmp_path, one_label, format="folder") == "Folder"
    (tmp_path / "masks/b.png").unlink()
    assert kind(tmp_path, one_label) == "Folder"


@pytest.mark.parametrize(
    ("name", "format_", "said"),
    [
        ("images/a.png", None, "found a .png file; expected a folder with a folder of images for each label"),
        ("images/a.png", "archive", "found a .png file; --format archive needs a .zip or .tar file"),
        ("images", "coco", "found a folder with a.png; --format coco needs a JSON file with images, annotations"),
        ("images", "table", "--format table needs a .csv, .tsv or .parquet file with the columns path and label"),
        ("images/a.png", "voc", "--format voc needs a folder with Pascal VOC's .xml files"),
        ("images", "s3", "--format s3 needs an address such as s3://bucket/prefix"),
        ("gone", "yolo", "found nothing that can be read; --format yolo needs a data.yaml or the folder of images/"),
        ("images", "tfrecord", "No format is called 'tfrecord'; expected one of folder, table, coco"),
    ],
)
def test_a_path_that_is_something_else_is_told_what_was_found_and_expected(everything, name, format_, said):
    assert said in mistake(everything / name, format=format_)


def test_a_named_format_reads_a_file_that_does_not_look_like_it(tmp_path):
    table = written(tmp_path / "labels.dat", "path,label\n1.png,cat\n")
    assert [found.label for found in open_source(table, one_label, format="table").files()] == ["cat"]
    assert "is not JSON" in mistake(table, format="coco")
