"""COCO JSON: boxes, polygons and run lengths of each image, and an objection to each that is not unmistakable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.data.annotations import areas_in, mask_of, things_in
from components.data.sources import SourceError
from tests.annotated import (
    HEIGHT,
    SIZE,
    WIDTH,
    areas,
    boxes,
    coco,
    found_in,
    labels,
    objections,
    picture,
    pictures,
    told,
    written,
)

SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]
BOW_TIE = [2, 2, 8, 8, 8, 2, 2, 8]


def box(image: int, left: float, top: float, width: float, height: float, category: int = 1, **more: object) -> dict:
    return {"image_id": image, "category_id": category, "bbox": [left, top, width, height], **more}


def one(folder: Path, *annotations: dict, **options: object) -> Path:
    """A folder with the picture a.png, whose id is 1, and one list."""
    pictures(folder, "a.png")
    coco(folder / "instances.json", {1: "a.png"}, annotations, **options)
    return folder


# What a good file becomes


def test_a_box_is_corner_and_size_in_the_file_and_edges_here(tmp_path):
    (found,) = found_in(one(tmp_path, box(1, 2, 3, 10, 20), box(1, 5, 5, 5, 5, category=2, iscrowd=1)), boxes)
    assert json.loads(found.label) == [
        {"box": [2.0, 3.0, 12.0, 23.0], "label": "cat"},
        {"box": [5.0, 5.0, 10.0, 10.0], "crowd": True, "label": "dog"},
    ]
    assert (found.path, found.size, found.shows) == (tmp_path / "a.png", SIZE, ("cat", "dog"))
    assert found.said_by == "instances.json, images[0] (id 1)"


def test_the_same_file_tells_labels_where_labels_are_asked_for(tmp_path):
    one(tmp_path, box(1, 2, 3, 10, 20), box(1, 5, 5, 5, 5), box(1, 5, 5, 5, 5, category=2))
    assert told(tmp_path, labels) == {"a.png": '["cat","dog"]'}


def test_polygons_and_run_lengths_become_masks(tmp_path):
    counts = [3 * HEIGHT, 2 * HEIGHT, (WIDTH - 5) * HEIGHT]
    one(
        tmp_path,
        box(1, 2, 3, 10, 10, segmentation=[SQUARE]),
        box(1, 3, 0, 2, 30, segmentation={"size": [HEIGHT, WIDTH], "counts": counts}),
        {"image_id": 1, "category_id": 2, "segmentation": [SQUARE]},
    )
    (found,) = found_in(tmp_path, boxes)
    things = things_in(found.label)
    assert sorted(int(mask_of(thing.mask, SIZE).sum()) for thing in things) == [60, 100, 100]
    assert [thing.box for thing in things if thing.label == "dog"] == [(2, 3, 12, 13)]


def test_images_without_annotations_show_the_background(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    coco(tmp_path / "instances.json", {1: "a.png", 2: "b.png"}, [box(2, 1, 1, 5, 5)])
    assert told(tmp_path, boxes)["a.png"] == "[]"
    assert told(tmp_path, labels)["a.png"] == "[]"


def test_an_annotation_of_a_category_alone_is_a_label(tmp_path):
    one(tmp_path, {"image_id": 1, "category_id": 2})
    assert told(tmp_path, labels) == {"a.png": '["dog"]'}
    assert told(tmp_path, boxes) == {"a.png": "no_boxes"}


def test_a_category_of_ignored_pixels_leaves_a_hole_in_the_areas(tmp_path):
    void = {"id": 3, "name": "void"}
    left = {"size": [HEIGHT, WIDTH], "counts": [0, 600, 600]}
    dog = {"image_id": 1, "category_id": 2, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [600, 600]}}
    one(
        tmp_path,
        dog,
        {"image_id": 1, "category_id": 3, "segmentation": left},
        categories=[{"id": 2, "name": "dog"}, void],
    )
    (found,) = found_in(tmp_path, areas)
    areas_found, size = areas_in(found.label)
    assert {name: int(mask_of(runs, size).sum()) for name, runs in areas_found.items()} == {"dog": 600}
    assert found.shows == ("dog",)


def test_without_a_size_in_the_list_the_header_of_the_picture_tells(tmp_path):
    one(tmp_path, box(1, 2, 3, 10, 10, segmentation=[SQUARE]))
    content = json.loads((tmp_path / "instances.json").read_text())
    del content["images"][0]["width"]
    written(tmp_path / "instances.json", json.dumps(content))
    (found,) = found_in(tmp_path, boxes)
    assert found.size == SIZE


# Where pictures and splits are


def test_the_usual_folders_give_pictures_and_splits(tmp_path):
    pictures(tmp_path, "train2017/1.png", "val2017/1.png")
    for split in ("train", "val"):
        coco(tmp_path / f"annotations/instances_{split}2017.json", {1: "1.png"}, [box(1, 1, 1, 5, 5)])
        written(tmp_path / f"annotations/captions_{split}2017.json", '{"images": [], "annotations": []}')
    found = found_in(tmp_path, boxes)
    assert {(str(each.path.relative_to(tmp_path)), each.split) for each in found} == {
        ("train2017/1.png", "train"),
        ("val2017/1.png", "val"),
    }


def test_lists_inside_the_folders_of_their_splits(tmp_path):
    for split in ("train", "valid"):
        pictures(tmp_path / split, "1.png")
        coco(tmp_path / split / "_annotations.coco.json", {1: "1.png"}, [])
    found = found_in(tmp_path, boxes)
    assert {(each.path.parent.name, each.split) for each in found} == {("train", "train"), ("valid", "val")}


def test_a_list_alone_finds_its_pictures_and_passes_over_others(tmp_path):
    pictures(tmp_path / "images", "a.png", "not-listed.png")
    path = coco(tmp_path / "annotations/some.json", {1: "/somewhere/else/a.png"}, [box(1, 1, 1, 5, 5)])
    assert [each.path for each in found_in(path, boxes)] == [tmp_path / "images/a.png"]


def test_a_field_split_counts_first(tmp_path):
    one(tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    content["images"][0]["split"] = "test"
    written(tmp_path / "instances_train.json", json.dumps(content))
    (tmp_path / "instances.json").unlink()
    assert [each.split for each in found_in(tmp_path, boxes)] == ["test"]


# What is not unmistakable


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (
            box(1, -5, 3, 10, 10),
            "bad_box: .*annotations[0] (id 1), box [-5.0, 3.0, 5.0, 13.0] of 'cat' lies outside its",
        ),
        (box(1, 2, 3, 0, 10), "bad_box: .*has no area"),
        (box(1, 12, 3, -10, 10), "bad_box: .*has swapped corners"),
        (box(1, 2, float("nan"), 10, 10), "bad_box: .*no number"),
        (
            box(1, 2, 3, 10, 10) | {"bbox": [1, 2, 3]},
            "bad_label: .*field bbox: found [1, 2, 3], expected [left, top, width",
        ),
        (box(1, 2, 3, 10, 10) | {"bbox": "1 2 3 4"}, 'bad_label: .*field bbox: found "1 2 3 4"'),
        (box(1, 2, 3, 10, 10, category=9), "bad_category: .*field category_id: found 9, but the categories are 1, 2"),
        (
            box(1, 2, 3, 10, 10, segmentation=[BOW_TIE]),
            "bad_polygon: .*field segmentation: polygon that crosses itself at",
        ),
        (
            box(1, 2, 3, 10, 10, segmentation={"size": [10, 10], "counts": [100]}),
            "bad_mask: .*mask of size [10, 10], expected [height, width] = [30, 40]",
        ),
    ],
)
def test_a_bad_annotation_is_told_with_file_id_and_field(tmp_path, annotation, said):
    (found,) = objections(one(tmp_path, annotation), boxes).values()
    code, _, detail = said.partition(": .*")
    assert found.startswith(f"{code}: instances.json, images[0] (id 1): annotations[0] (id 1)")
    assert detail in found


def test_a_bad_annotation_leaves_other_images_alone(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    coco(tmp_path / "i.json", {1: "a.png", 2: "b.png"}, [box(1, 2, 3, 0, 0), box(2, 2, 3, 5, 5, category=2)])
    found = {each.name: each for each in found_in(tmp_path, boxes)}
    assert found["a.png"].label is None
    assert found["a.png"].shows == ("cat",)
    assert found["b.png"].label is not None


def test_an_annotation_of_no_image_is_missing_its_picture(tmp_path):
    found = [each for each in found_in(one(tmp_path, box(7, 1, 1, 5, 5)), boxes) if each.objection]
    assert found[0].objection == (
        "missing",
        "instances.json, annotations[0] (id 1): field image_id: no image has the id 7",
    )
    assert not found[0].path.exists()


def test_two_annotations_of_one_id_are_both_refused(tmp_path):
    pictures(tmp_path, "a.png", "b.png", "c.png")
    twice = [box(1, 1, 1, 5, 5, id=5), box(2, 1, 1, 5, 5, id=5), box(3, 1, 1, 5, 5, id=6)]
    coco(tmp_path / "i.json", {1: "a.png", 2: "b.png", 3: "c.png"}, twice)
    assert told(tmp_path, labels) == {
        "a.png": "duplicate_id",
        "b.png": "duplicate_id",
        "c.png": '["cat"]',
    }


def test_two_images_of_one_id_or_name_are_refused(tmp_path):
    pictures(tmp_path, "a.png", "b.png", "c.png")
    rows = [(1, "a.png"), (1, "b.png"), (2, "c.png"), (3, "c.png")]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in rows],
        "annotations": [],
        "categories": [],
    }
    written(tmp_path / "i.json", json.dumps(content))
    said = [each.objection for each in found_in(tmp_path, labels)]
    assert [each and each[0] for each in said] == ["duplicate_id"] * 4
    assert "field id: 1 is the id of several images" in said[0][1]
    assert "field file_name: c.png is listed several times" in said[2][1]


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 1, "name": "cat"}, {"id": 1, "name": "lynx"}],
        [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}],
        [{"id": 1, "name": " "}],
        [{"id": 1}],
        [],
    ],
)
def test_a_category_that_is_twice_or_missing_is_not_guessed_at(tmp_path, categories):
    assert told(one(tmp_path, box(1, 1, 1, 5, 5), categories=categories), labels) == {"a.png": "bad_category"}


def test_a_picture_in_no_list_is_told(tmp_path):
    picture(one(tmp_path, box(1, 1, 1, 5, 5)) / "stray.png", 9)
    assert "no image of instances.json" in objections(tmp_path, labels)["stray.png"]


def test_a_picture_that_is_not_there_is_left_to_ingest(tmp_path):
    coco(tmp_path / "i.json", {1: "gone.png", 2: "../../etc/passwd"}, [box(1, 1, 1, 5, 5)])
    found = found_in(tmp_path, labels)
    assert [each.label for each in found] == ['["cat"]', "[]"]
    assert not any(each.path.exists() for each in found)
    assert all(each.path.is_relative_to(tmp_path) for each in found)


def test_a_name_that_two_pictures_have_is_not_guessed_at(tmp_path):
    pictures(tmp_path, "one/a.png", "two/a.png")
    coco(tmp_path / "i.json", {1: "a.png"}, [])
    assert "a.png may be one/a.png or two/a.png" in objections(tmp_path / "i.json", labels)["a.png"]


def test_a_name_with_a_folder_is_the_picture_in_that_folder(tmp_path):
    pictures(tmp_path, "one/a.png", "two/a.png")
    coco(tmp_path / "i.json", {1: "./two/a.png"}, [])
    assert [each.path for each in found_in(tmp_path / "i.json", labels)] == [tmp_path / "two/a.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [', "i.json is not JSON: Expecting value: line 1 column 13"),
        ("[1, 2]", "i.json: found list; expected COCO"),
        (
            '{"info": 1}',
            "i.json: found info; expected COCO, a JSON object with the keys images, annotations, categories",
        ),
        ('{"images": [], "annotations": []}', "lists no images"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_list_says_what_was_found(tmp_path, text, said):
    with pytest.raises(SourceError) as caught:
        found_in(written(tmp_path / "i.json", text), labels, format="coco")
    assert said in str(caught.value)


def test_rows_that_are_no_rows_are_told_one_by_one(tmp_path):
    pictures(tmp_path, "a.png")
    content = {"images": [7, {"id": 1, "file_name": "a.png"}, {"id": 2}], "annotations": ["x"], "categories": [None]}
    written(tmp_path / "i.json", json.dumps(content))
    said = told(tmp_path, labels)
    assert said.pop("a.png") == "[]"
    assert set(said.values()) == {"bad_label", "missing"}
