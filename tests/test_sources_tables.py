"""Tables of several labels, of boxes, and of annotation files; Parquet beside CSV; large ones."""

from __future__ import annotations

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.annotations import one_label
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
    pictures,
    told,
    voc,
    voc_object,
    written,
)

# Several labels of one image


def test_a_cell_of_several_labels_is_split_where_the_task_takes_several(tmp_path):
    table = written(tmp_path / "t.csv", "path,label\n1.png,cat|dog\n2.png, dog | \n")
    assert told(table, labels) == {"1.png": '["cat","dog"]', "2.png": '["dog"]'}
    assert told(table, one_label) == {"1.png": "cat|dog", "2.png": "dog |"}


def test_several_rows_of_one_path_are_one_image_where_the_task_takes_several(tmp_path):
    table = written(tmp_path / "t.csv", "path,label\n1.png,dog\n2.png,emu\n1.png,cat\n")
    assert [(each.label, each.said_by) for each in found_in(table, labels)] == [
        ('["cat","dog"]', "t.csv:2"),
        ('["emu"]', "t.csv:3"),
    ]
    assert [each.label for each in found_in(table, one_label)] == ["dog", "emu", "cat"]


def test_an_empty_label_is_none_of_the_classes_or_a_mistake(tmp_path):
    table = written(tmp_path / "t.csv", "path,label\n1.png,\n")
    assert told(table, labels) == {"1.png": "[]"}
    with pytest.raises(SourceError, match="line 2, field label: empty"):
        found_in(table, one_label)


def test_two_splits_of_one_path_are_not_guessed_at(tmp_path):
    table = written(tmp_path / "t.csv", "path,label,split\n1.png,a,train\n1.png,b,test\n")
    assert objections(table, labels) == {
        "1.png": "bad_split: t.csv:2: field split: found train (line 2) and test (line 3), expected one for each path"
    }


# Boxes


@pytest.mark.parametrize("edges", ["left,top,right,bottom", "xmin,ymin,xmax,ymax", "X1,Y1,X2,Y2"])
def test_a_row_for_each_box(tmp_path, edges):
    pictures(tmp_path, "1.png", "2.png")
    rows = "1.png,cat,2,3,12,23\n1.png,dog,5,5,10.5,10\n2.png,,,,,\n"
    found = found_in(written(tmp_path / "t.csv", f"path,label,{edges}\n{rows}"), boxes)
    assert [json.loads(each.label) for each in found] == [
        [{"box": [2.0, 3.0, 12.0, 23.0], "label": "cat"}, {"box": [5.0, 5.0, 10.5, 10.0], "label": "dog"}],
        [],
    ]
    assert found[0].size == SIZE


def test_crowds_and_masks_have_columns(tmp_path):
    from components.data.annotations import run_lengths

    picture(tmp_path / "1.png", 1)
    runs = run_lengths(np.ones((HEIGHT, WIDTH), bool))
    table = written(
        tmp_path / "t.csv", f"path,label,left,top,right,bottom,crowd,mask\n1.png,cat,0,0,40,30,true,{runs}\n"
    )
    (found,) = found_in(table, boxes)
    assert json.loads(found.label) == [{"box": [0.0, 0.0, 40.0, 30.0], "crowd": True, "label": "cat", "mask": runs}]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1.png,cat,2,3,x,23", "bad_box: t.csv:2: line 3, field right: found 'x', expected a number"),
        (
            "1.png,cat,2,3,,23",
            "bad_box: t.csv:2: line 3, box [2.0, 3.0, nan, 23.0] of 'cat' has an edge that is no number",
        ),
        ("1.png,cat,2,3,1,23", "bad_box: t.csv:2: line 3, box [2.0, 3.0, 1.0, 23.0] of 'cat' has swapped corners"),
        ("1.png,cat,2,3,41.5,23", "bad_box: t.csv:2: line 3, box [2.0, 3.0, 41.5, 23.0] of 'cat' lies outside"),
    ],
)
def test_a_bad_box_is_an_objection_to_its_image_with_its_line(tmp_path, row, said):
    pictures(tmp_path, "1.png", "2.png")
    table = written(
        tmp_path / "t.csv", f"path,label,left,top,right,bottom\n1.png,cat,1,1,5,5\n{row}\n2.png,cat,1,1,5,5\n"
    )
    assert objections(table, boxes)["1.png"].startswith(said)
    assert len(objections(table, boxes)) == 1


def test_a_row_of_edges_without_a_label_is_a_mistake(tmp_path):
    table = written(tmp_path / "t.csv", "path,label,left,top,right,bottom\n1.png,,1,1,5,5\n")
    with pytest.raises(SourceError, match="line 2, field label: empty"):
        found_in(table, boxes)


# Files of annotations


def test_voc_files_and_splits_of_a_table_go_together(tmp_path):
    pictures(tmp_path / "images", "0.png", "1.png")
    for number in "01":
        voc(tmp_path / f"annotations/{number}.xml", voc_object("cat", 2, 3, 12, 23))
    rows = "images/0.png,annotations/0.xml,test\nimages/1.png,annotations/1.xml,\n"
    table = written(tmp_path / "t.csv", f"path,annotation,split\n{rows}")
    found = found_in(table, boxes)
    assert [(each.split, each.label) for each in found] == [
        ("test", '[{"box":[2.0,3.0,12.0,23.0],"label":"cat"}]'),
        (None, '[{"box":[2.0,3.0,12.0,23.0],"label":"cat"}]'),
    ]
    assert list(told(table, labels).values()) == ['["cat"]'] * 2


def test_yolo_files_and_masks_go_with_a_table_too(tmp_path):
    pictures(tmp_path, "0.png", "1.png")
    written(tmp_path / "0.txt", "1 .5 .5 .5 .5")
    mask(tmp_path / "masks/1.png", np.ones((HEIGHT, WIDTH)))
    written(tmp_path / "classes.txt", "0 cat\n1 dog\n")
    table = written(tmp_path / "t.csv", "path,annotation\n0.png,0.txt\n1.png,masks/1.png\n")
    assert list(told(table, labels).values()) == ['["dog"]', '["dog"]']
    assert told(table, areas)["1.png"].startswith('{"areas":{"dog":')


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("gone.xml", "missing: t.csv:2: field annotation: there is no file gone.xml"),
        ("bad.xml", "bad_box: t.csv:2: bad.xml, line 3, field bndbox: box [2.0, 3.0, 2.0, 5.0] of 'cat' has no area"),
        ("t.csv", "bad_label: t.csv:2: t.csv, expected the name of a VOC .xml, a YOLO .txt or a mask .png"),
    ],
)
def test_a_bad_file_is_told_with_table_line_and_its_own_line(tmp_path, cell, said):
    picture(tmp_path / "0.png", 1)
    voc(tmp_path / "bad.xml", voc_object("cat", 2, 3, 2, 5))
    assert objections(written(tmp_path / "t.csv", f"path,annotation\n0.png,{cell}\n"), boxes)["0.png"].startswith(said)


def test_a_row_without_a_file_shows_the_background_where_that_is_legal(tmp_path):
    picture(tmp_path / "0.png", 1)
    table = written(tmp_path / "t.csv", "path,annotation,split\n0.png,,train\n")
    assert told(table, boxes) == {"0.png": "[]"}
    with pytest.raises(SourceError, match="line 2, field annotation: empty"):
        found_in(table, one_label)


# Parquet, folders with a table, and size


def test_parquet_is_a_table_too(tmp_path):
    columns = {"path": ["1.png", "2.png"], "Label": [["cat", "dog"], ["NA"]], "split": ["train", None]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert [(each.label, each.split, each.said_by) for each in found_in(tmp_path / "t.parquet", labels)] == [
        ('["cat","dog"]', "train", "t.parquet:2"),
        ('["NA"]', None, "t.parquet:3"),
    ]


def test_parquet_that_is_none_says_so(tmp_path):
    with pytest.raises(SourceError, match=r"t\.parquet cannot be read"):
        found_in(written(tmp_path / "t.parquet", "path,label\n"), labels)


def test_a_folder_with_a_table_of_its_images_is_that_table(tmp_path):
    pictures(tmp_path, "images/1.png")
    written(tmp_path / "labels.csv", "path;label\nimages/1.png;cat\n")
    written(tmp_path / "prices.csv", "path,euro\n1,2\n")
    assert told(tmp_path, one_label) == {"images/1.png": "cat"}


def test_a_hundred_thousand_rows_with_bom_and_semicolons_are_read_in_seconds(tmp_path):
    rows = "".join(f"images/{number}.jpg;{'NA' if number % 2 else 'null'};train\n" for number in range(100_000))
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + f"path;label;split\n{rows}".encode())
    began = time.process_time()
    found = found_in(tmp_path / "t.csv", one_label)
    assert time.process_time() - began < 5
    assert len(found) == 100_000
    assert {each.label for each in found} == {"NA", "null"}
    assert found[-1].said_by == "t.csv:100001"
