"""Mask PNGs beside images: the value of a pixel is the number of its class."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import areas_in, mask_of
from components.data.sources import SourceError
from tests.annotated import (
    HEIGHT,
    SIZE,
    WIDTH,
    areas,
    boxes,
    found_in,
    labels,
    mask,
    objections,
    picture,
    told,
    written,
)

VALUES = np.zeros((HEIGHT, WIDTH), np.uint8)
VALUES[:, 10:30] = 1
VALUES[20:, :] = 2
VALUES[:2, :] = 255
NAMES = "0 sky\n1 tower block\n2 unlabelled\n"


def one(folder, values=VALUES, names: str | None = NAMES, mode: str = "L"):
    picture(folder / "images/a.png", 1)
    mask(folder / "masks/a.png", values, mode)
    if names is not None:
        written(folder / "classes.txt", names)
    return folder


def pixels(label: str) -> dict[str, int]:
    found, size = areas_in(label)
    return {name: int(mask_of(runs, size).sum()) for name, runs in found.items()}


@pytest.mark.parametrize("mode", ["L", "P"])
def test_each_class_gets_its_area_and_some_pixels_are_not_judged(tmp_path, mode):
    (found,) = found_in(one(tmp_path, mode=mode), areas)
    assert pixels(found.label) == {"sky": 18 * 20, "tower block": 18 * 20}
    assert (found.name, found.size, found.shows) == ("images/a.png", SIZE, ("sky", "tower block"))
    assert told(tmp_path, labels) == {"images/a.png": '["sky","tower block"]'}
    assert told(tmp_path, boxes) == {"images/a.png": "no_boxes"}


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classes.txt", "sky\nhouse\n-2\n", {"sky", "house"}),
        ("classes.csv", "id,name\n0,sky\n1,house\n2,void\n", {"sky", "house"}),
        ("classes.csv", "\ufeff1,house\n0,sky\n2,ignore\n", {"sky", "house"}),
        ("masks/classes.txt", "0 sky\n1 house\n2 tree\n", {"sky", "house", "tree"}),
        ("data.yaml", "names: {0: sky, 1: house, 2: Unlabeled}\n", {"sky", "house"}),
        ("readme.txt", "nothing\n", {"0", "1", "2"}),
    ],
)
def test_names_come_from_files_of_several_kinds(tmp_path, file, text, names):
    written(one(tmp_path, names=None) / file, text)
    (found,) = found_in(tmp_path, areas, format="masks")
    assert set(pixels(found.label)) == names


def test_values_of_16_bits_and_of_one_are_numbers_too(tmp_path):
    one(tmp_path, names="0 sky\n1 house\n700 tree\n")
    deep = np.where(VALUES == 255, 0, VALUES).astype(np.uint16)
    Image.fromarray(np.where(deep == 2, 700, deep).astype(np.uint16)).save(tmp_path / "masks/a.png")
    assert set(pixels(found_in(tmp_path, areas)[0].label)) == {"sky", "house", "tree"}
    Image.fromarray(VALUES == 1).save(tmp_path / "masks/a.png")
    assert set(pixels(found_in(tmp_path, areas)[0].label)) == {"sky", "house"}


def test_folders_of_splits_and_image_sets_give_splits(tmp_path):
    for split, number in (("train", 1), ("val", 2)):
        picture(tmp_path / f"images/{split}/1.jpg", number)
        mask(tmp_path / f"masks/{split}/1.png", VALUES)
    assert [(each.name, each.split) for each in found_in(tmp_path, areas)] == [
        ("images/train/1.jpg", "train"),
        ("images/val/1.jpg", "val"),
    ]
    flat = tmp_path / "flat"
    picture(flat / "JPEGImages/x.jpg", 3)
    mask(flat / "SegmentationClass/x.png", VALUES, "P")
    written(flat / "ImageSets/Segmentation/val.txt", "x\n")
    assert [each.split for each in found_in(flat, areas)] == ["val"]


def test_a_value_that_no_class_has_is_told_with_its_pixels(tmp_path):
    one(tmp_path / "set", np.where(VALUES == 1, 7, VALUES))
    (said,) = objections(tmp_path / "set", areas).values()
    assert said == (
        "bad_mask: set/masks/a.png: found values 7 (360 px), expected those of "
        "classes.txt: 0 sky, 1 tower block, 2 unlabelled"
    )


def test_colours_and_broken_files_are_no_masks(tmp_path):
    one(tmp_path)
    Image.new("RGB", SIZE).save(tmp_path / "masks/a.png")
    assert "found colours (RGB), expected palette or grey" in objections(tmp_path, areas)["images/a.png"]
    (tmp_path / "masks/a.png").write_bytes(b"no picture")
    assert "bad_mask" in objections(tmp_path, areas)["images/a.png"]


def test_what_lacks_its_other_half_is_told(tmp_path):
    one(tmp_path)
    picture(tmp_path / "images/b.png", 2)
    mask(tmp_path / "masks/c.png", VALUES)
    assert objections(tmp_path, areas) == {
        "images/b.png": f"no_label: {tmp_path.name}/images/b.png: there is no mask for it",
        "picture of masks/c.png": f"missing: {tmp_path.name}/masks/c.png: there is no picture of this name",
    }


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(SourceError, match="expected pictures in images/ and PNGs in masks/"):
        found_in(tmp_path, areas, format="masks")
