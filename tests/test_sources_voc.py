"""Pascal VOC XML: the boxes of one image in each file, and an objection with its line where one cannot be."""

from __future__ import annotations

import json

import pytest

from components.data.sources import SourceError
from tests.annotated import SIZE, boxes, found_in, labels, objections, picture, pictures, told, voc, voc_object, written

CAT = voc_object("cat", 2, 3, 12, 23)


def test_an_object_keeps_its_edges(tmp_path):
    picture(tmp_path / "images/a.png", 1)
    voc(tmp_path / "annotations/a.xml", CAT, voc_object("dog", "5.5", 5, "1e1", 10), filename="a.png")
    (found,) = found_in(tmp_path, boxes)
    assert json.loads(found.label) == [
        {"box": [2.0, 3.0, 12.0, 23.0], "label": "cat"},
        {"box": [5.5, 5.0, 10.0, 10.0], "label": "dog"},
    ]
    assert (found.name, found.size, found.shows) == ("images/a.png", SIZE, ("cat", "dog"))
    assert found.said_by == f"{tmp_path.name}/annotations/a.xml"
    assert told(tmp_path, labels) == {"images/a.png": '["cat","dog"]'}


def test_difficult_objects_are_neither_hits_nor_misses(tmp_path):
    picture(tmp_path / "a.png", 1)
    voc(tmp_path / "a.xml", voc_object("cat", 2, 3, 12, 23, more="<difficult>1</difficult>"))
    assert '"crowd":true' in told(tmp_path, boxes)["a.png"]


def test_a_file_without_objects_shows_the_background(tmp_path):
    picture(tmp_path / "a.png", 1)
    voc(tmp_path / "a.xml")
    assert told(tmp_path, boxes) == told(tmp_path, labels) == {"a.png": "[]"}


def test_an_object_without_a_box_is_a_label(tmp_path):
    picture(tmp_path / "a.png", 1)
    voc(tmp_path / "a.xml", voc_object("cat"))
    assert told(tmp_path, labels) == {"a.png": '["cat"]'}
    assert told(tmp_path, boxes) == {"a.png": "no_boxes"}


def test_parts_of_an_object_are_no_objects(tmp_path):
    picture(tmp_path / "a.png", 1)
    head = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    voc(tmp_path / "a.xml", CAT.replace("</object>", f"{head}</object>"))
    assert told(tmp_path, labels) == {"a.png": '["cat"]'}


def test_the_picture_is_the_one_that_the_file_names_or_is_named_like(tmp_path):
    pictures(tmp_path / "JPEGImages", "1.png", "2.png")
    voc(tmp_path / "Annotations/1.xml", filename="2.png")
    voc(tmp_path / "Annotations/x.xml", filename="1")
    found = found_in(tmp_path, boxes)
    assert {each.said_by.rpartition("/")[2]: each.name for each in found} == {
        "1.xml": "JPEGImages/2.png",
        "x.xml": "JPEGImages/1.png",
    }


def test_image_sets_and_folders_give_the_split(tmp_path):
    pictures(tmp_path / "JPEGImages", "1.png", "2.png", "3.png")
    for number in "123":
        voc(tmp_path / f"Annotations/{number}.xml")
    written(tmp_path / "ImageSets/Main/train.txt", "1\n")
    written(tmp_path / "ImageSets/Main/val.txt", "2 -1\n")
    written(tmp_path / "ImageSets/Main/cat_test.txt", "3\n")
    assert [each.split for each in found_in(tmp_path, boxes)] == ["train", "val", None]


def test_files_beside_their_pictures_in_folders_of_splits(tmp_path):
    pictures(tmp_path, "train/1.png", "valid/1.png", "test/1.png")
    for split in ("train", "valid", "test"):
        voc(tmp_path / f"{split}/1.xml", CAT, filename="1.png")
    assert [(each.name, each.split) for each in found_in(tmp_path, boxes)] == [
        ("test/1.png", "test"),
        ("train/1.png", "train"),
        ("valid/1.png", "val"),
    ]


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_file_without_a_size_takes_that_of_the_picture(tmp_path, size):
    picture(tmp_path / "a.png", 1)
    voc(tmp_path / "a.xml", CAT, size=size)
    (found,) = found_in(tmp_path, boxes)
    assert found.size == SIZE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            voc_object("cat", 2, 3, 50, 23),
            "bad_box: .*line 3, field bndbox: box [2.0, 3.0, 50.0, 23.0] of 'cat' lies outside",
        ),
        (voc_object("cat", 2, 3, 2, 23), "bad_box: .*line 3, field bndbox: .*has no area"),
        (voc_object("cat", 12, 3, 2, 23), "bad_box: .*has swapped corners"),
        (voc_object("cat", "nan", 3, 2, 23), "bad_box: .*no number"),
        (voc_object("cat", "2 px", 3, 12, 23), "bad_box: .*line 3, field xmin: found '2 px', expected a number"),
        (voc_object("cat", 1, 3, 12, 23).replace("ymin", "top"), "bad_box: .*line 3, field ymin: found 'nothing'"),
        (voc_object(" ", 2, 3, 12, 23), "bad_label: .*line 3, field name: empty"),
        ("<object>", "bad_xml: .*line 4, column 2: mismatched tag"),
    ],
)
def test_a_bad_object_is_told_with_file_line_and_field(tmp_path, line, said):
    picture(tmp_path / "set/a.png", 1)
    voc(tmp_path / "set/a.xml", line)
    found = objections(tmp_path / "set", boxes)["a.png"]
    code, *parts = said.split(".*")
    assert found.startswith(f"{code}set/a.xml: ")
    assert all(part in found for part in parts)


def test_entities_are_refused(tmp_path):
    """A few lines of them can grow to gigabytes, or name other files of the machine."""
    picture(tmp_path / "a.png", 1)
    written(tmp_path / "a.xml", '<!DOCTYPE a [<!ENTITY b "bb">]>\n<annotation><filename>&b;</filename></annotation>')
    assert "bad_xml" in told(tmp_path, boxes)["a.png"]
    assert "declares the entity b" in objections(tmp_path, boxes)["a.png"]


def test_another_kind_of_xml_is_told(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    voc(tmp_path / "a.xml", CAT)
    written(tmp_path / "b.xml", "<svg/>")
    assert objections(tmp_path, boxes) == {
        "b.png": f"bad_xml: {tmp_path.name}/b.xml: line 1: found <svg>, expected <annotation>"
    }


def test_a_picture_without_a_file_and_a_file_without_a_picture_are_told(tmp_path):
    picture(tmp_path / "a.png", 1)
    voc(tmp_path / "b.xml", CAT, filename="gone.png")
    found = {each.name: each for each in found_in(tmp_path, boxes)}
    assert found["a.png"].objection == ("no_label", "a.png: no .xml file describes it")
    assert not found["b.*"].path.exists()
    assert found["b.*"].shows == ("cat",)


def test_a_folder_without_any_file_says_so(tmp_path):
    pictures(tmp_path, "a.png")
    with pytest.raises(SourceError, match=r"found no \.xml file"):
        found_in(tmp_path, boxes, format="voc")
