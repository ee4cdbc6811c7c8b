"""YOLO txt: places in shares become px, names come from data.yaml or classes.txt, mistakes have a line."""

from __future__ import annotations

import json

import pytest

from components.data.annotations import mask_of, things_in
from components.data.sources import SourceError
from tests.annotated import SIZE, boxes, found_in, labels, objections, picture, pictures, told, written

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def small(folder, text: str, names: str = "cat\ndog\n"):
    """One picture images/a.png with these lines."""
    picture(folder / "images/a.png", 1)
    written(folder / "labels/a.txt", text)
    written(folder / "classes.txt", names)
    return folder


def test_shares_become_px(tmp_path):
    (found,) = found_in(small(tmp_path, "0 0.5 0.5 0.5 0.2\n\n1 0.05 0.1 0.1 0.2\n"), boxes)
    assert json.loads(found.label) == [
        {"box": [0.0, 0.0, 4.0, 6.0], "label": "dog"},
        {"box": [10.0, 12.0, 30.0, 18.0], "label": "cat"},
    ]
    assert (found.name, found.size, found.said_by) == ("images/a.png", SIZE, f"{tmp_path.name}/labels/a.txt")


def test_the_size_is_that_of_the_upright_picture(tmp_path):
    from PIL import Image

    small(tmp_path, "0 0.5 0.5 1 1\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / "images/a.png").save(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "images/a.png").unlink()
    (found,) = found_in(tmp_path, boxes)
    assert things_in(found.label)[0].box == (0, 0, SIZE[1], SIZE[0])


def test_an_outline_becomes_a_mask_and_the_box_around_it(tmp_path):
    (found,) = found_in(small(tmp_path, "1 0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6\n"), boxes)
    (thing,) = things_in(found.label)
    assert thing.box == (10, 6, 20, 18)
    assert mask_of(thing.mask, SIZE).sum() == 120


def test_a_class_alone_is_a_label(tmp_path):
    assert told(small(tmp_path, "1\n0\n"), labels) == {"images/a.png": '["cat","dog"]'}
    assert told(tmp_path, boxes) == {"images/a.png": "no_boxes"}


@pytest.mark.parametrize("text", ["", "\n\n", None])
def test_an_empty_file_or_none_shows_the_background(tmp_path, text):
    small(tmp_path, text or "")
    picture(tmp_path / "images/b.png", 2)
    written(tmp_path / "labels/b.txt", "0 .5 .5 .1 .1")
    if text is None:
        (tmp_path / "labels/a.txt").unlink()
    assert told(tmp_path, boxes)["images/a.png"] == told(tmp_path, labels)["images/a.png"] == "[]"


def test_data_yaml_names_classes_and_splits(tmp_path):
    pictures(tmp_path, "images/train/1.png", "images/val/1.png")
    for split in ("train", "val"):
        written(tmp_path / f"labels/{split}/1.txt", "1 .5 .5 .1 .1")
    path = written(tmp_path / "data.yaml", YAML)
    for source in (tmp_path, path):
        found = found_in(source, labels)
        assert [(each.name, each.split, each.label) for each in found] == [
            ("images/train/1.png", "train", '["dog"]'),
            ("images/val/1.png", "val", '["dog"]'),
        ]


def test_folders_of_splits_with_images_and_labels_in_each(tmp_path):
    pictures(tmp_path, "train/images/1.png", "valid/images/2.png")
    written(tmp_path / "train/labels/1.txt", "0 .5 .5 .1 .1")
    written(tmp_path / "valid/labels/2.txt", "1 .5 .5 .1 .1")
    written(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    assert [(each.split, each.label) for each in found_in(tmp_path, labels)] == [
        ("train", '["cat"]'),
        ("val", '["dog"]'),
    ]


def test_lists_of_pictures_give_splits(tmp_path):
    pictures(tmp_path / "images", "1.png", "2.png", "3.png")
    for number in "123":
        written(tmp_path / f"labels/{number}.txt", "0 .5 .5 .1 .1")
    written(tmp_path / "train.txt", "./images/1.png\nimages/2.png\n")
    written(tmp_path / "val.txt", "images/3.png\nimages/gone.png\n")
    written(tmp_path / "data.yaml", "train: train.txt\nval: val.txt\nnames: [cat]\n")
    assert [each.split for each in found_in(tmp_path, labels)] == ["train", "train", "val"]


def test_a_folder_that_is_train_and_val_is_neither(tmp_path):
    small(tmp_path, "0 .5 .5 .1 .1")
    (tmp_path / "classes.txt").unlink()
    written(tmp_path / "data.yaml", "train: images\nval: images\nnames: [cat]\n")
    assert [each.split for each in found_in(tmp_path, labels)] == [None]


def test_files_beside_their_pictures(tmp_path):
    picture(tmp_path / "a.png", 1)
    written(tmp_path / "a.txt", "0 .5 .5 .1 .1")
    written(tmp_path / "readme.txt", "hello")
    written(tmp_path / "data.yaml", "names: [cat]")
    assert told(tmp_path, labels) == {"a.png": '["cat"]'}


def test_without_names_a_class_is_its_number(tmp_path):
    small(tmp_path, "17 .5 .5 .1 .1")
    (tmp_path / "classes.txt").unlink()
    assert told(tmp_path, labels) == {"images/a.png": '["17"]'}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "2 .5 .5 .1 .1",
            "bad_category: line 1, field class: found '2', expected a number of classes.txt: 0 cat, 1 dog",
        ),
        ("cat .5 .5 .1 .1", "bad_category: line 1, field class: found 'cat'"),
        ("-1 .5 .5 .1 .1", "bad_category: line 1, field class: found '-1'"),
        (
            "0 .5 .5 .1 .1\n0 .5 .5 .1",
            "bad_box: line 2, found 3 numbers behind the class, expected 4 (x y width height)",
        ),
        ("0 .5 .5 .1 .1 .9", "bad_box: line 1, found 5 numbers"),
        ("0 .5 .5 .1 x", "bad_box: line 1, found '.5 .5 .1 x', expected numbers"),
        ("0 .5 .5 .1 nan", "bad_box: line 1, box [18.0, nan, 22.0, nan] of 'cat' has an edge that is no number"),
        ("0 .5 .5 0 .1", "bad_box: line 1, box [20.0, 13.5, 20.0, 16.5] of 'cat' has no area"),
        ("0 .5 .5 -.1 .1", "bad_box: line 1, .*has swapped corners"),
        ("0 .9 .5 .5 .1", "bad_box: line 1, .*lies outside its image of 40 x 30 px"),
        ("0 320 240 64 48", "bad_box: line 1, .*lies outside"),
        ("0 .1 .1 .5 .5 .5 .1 .1 .5", "bad_polygon: line 1, polygon that crosses itself at"),
    ],
)
def test_a_bad_line_is_told_with_file_and_number(tmp_path, text, said):
    found = objections(small(tmp_path / "set", text), boxes)["images/a.png"]
    code, _, detail = said.partition(": ")
    start, *rest = detail.split(".*")
    assert found.startswith(f"{code}: set/labels/a.txt: {start}")
    assert all(part in found for part in rest)


def test_a_file_that_is_no_text_is_told(tmp_path):
    small(tmp_path, "")
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe\x00")
    assert told(tmp_path, boxes) == {"images/a.png": "bad_label"}


def test_labels_without_a_picture_are_missing_it(tmp_path):
    small(tmp_path, "0 .5 .5 .1 .1")
    written(tmp_path / "labels/gone.txt", "0 .5 .5 .1 .1")
    assert objections(tmp_path, boxes) == {
        "picture of labels/gone.txt": f"missing: {tmp_path.name}/labels/gone.txt: there is no picture of this name"
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("cat\ncat\n", "classes.txt: found the name 'cat' several times"),
        ("", "classes.txt: found no names"),
        ("0 cat\n0 dog\n", "classes.txt: the number 0 is there twice"),
    ],
)
def test_names_that_contradict_each_other_stop(tmp_path, names, said):
    with pytest.raises(SourceError) as caught:
        found_in(small(tmp_path, "0 .5 .5 .1 .1", names), boxes)
    assert said in str(caught.value)


def test_a_yaml_that_is_none_stops(tmp_path):
    small(tmp_path, "")
    written(tmp_path / "data.yaml", "names: [cat")
    with pytest.raises(SourceError, match=r"data\.yaml cannot be read"):
        found_in(tmp_path, boxes)


def test_no_pictures_says_so(tmp_path):
    written(tmp_path / "labels/a.txt", "0 .5 .5 .1 .1")
    with pytest.raises(SourceError, match="found no pictures"):
        found_in(tmp_path, boxes)
