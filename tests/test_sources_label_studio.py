"""Label Studio's JSON: choices, rectangles, polygons and brush strokes of people."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from components.data.annotations import mask_of, things_in
from components.data.sources import SourceError
from tests.annotated import HEIGHT, SIZE, WIDTH, boxes, found_in, labels, objections, pictures, told, written


def result(kind: str, **value: object) -> dict:
    return {"id": "r1", "type": kind, "original_width": WIDTH, "original_height": HEIGHT, "value": value}


def rectangle(label: str = "cat", **changed: object) -> dict:
    edges = {"x": 10, "y": 10, "width": 50, "height": 20, "rotation": 0}
    return result("rectanglelabels", **edges | {"rectanglelabels": [label]} | changed)


def choice(*names: str) -> dict:
    return result("choices", choices=list(names))


def export(folder, *tasks: dict, image: str = "/data/upload/3/0a1b2c3d-a.png"):
    rows = [{"id": 7 + place, "data": {"image": image}} | task for place, task in enumerate(tasks)]
    return written(folder / "export.json", json.dumps(rows))


def said(*results: dict, **more: object) -> dict:
    return {"annotations": [{"id": 70, "result": list(results), **more}]}


def packed(values: np.ndarray) -> list[int]:
    """As the brush writes: one run of each stretch of equal values, lengths in 16 bits."""
    bits = f"{len(values):032b}{7:05b}" + f"{15:04b}" * 4
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, end in pairwise(edges):
        bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_rectangles_in_percent_become_px(tmp_path):
    pictures(tmp_path, "a.png")
    export(tmp_path, said(rectangle(), rectangle("dog", x=0, y=0, width=100, height=100)))
    (found,) = found_in(tmp_path, boxes)
    assert json.loads(found.label) == [
        {"box": [0.0, 0.0, 40.0, 30.0], "label": "dog"},
        {"box": [4.0, 3.0, 24.0, 9.0], "label": "cat"},
    ]
    assert (found.path, found.size, found.said_by) == (tmp_path / "a.png", SIZE, "export.json, task 7, annotation 70")


def test_choices_are_labels(tmp_path):
    pictures(tmp_path, "a.png")
    export(tmp_path, said(choice("cat", "dog"), {"type": "textarea", "value": {"text": ["nice"]}}))
    assert list(told(tmp_path, labels).values()) == ['["cat","dog"]']


def test_polygons_and_brush_strokes_become_masks(tmp_path):
    pictures(tmp_path, "a.png")
    corners = [[10, 10], [60, 10], [60, 30], [10, 30]]
    painted = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    painted[3:9, 4:24] = 255
    stroke = result("brushlabels", format="rle", rle=packed(painted.ravel()), brushlabels=["dog"])
    export(tmp_path, said(result("polygonlabels", points=corners, polygonlabels=["cat"]), stroke))
    things = things_in(found_in(tmp_path, boxes)[0].label)
    assert [(thing.label, thing.box, mask_of(thing.mask, SIZE).sum()) for thing in things] == [
        ("cat", (4, 3, 24, 9), 120),
        ("dog", (4, 3, 24, 9), 120),
    ]


def test_values_that_do_not_repeat_are_read_too(tmp_path):
    """The writer packs single values side by side where no two are equal."""
    pictures(tmp_path, "a.png")
    bits = f"{4:032b}{7:05b}{15:04b}{15:04b}{15:04b}{15:04b}0{0:02b}{3:016b}{1:08b}{2:08b}{3:08b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    stroke = result("brushlabels", rle=[int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)], brushlabels=["x"])
    export(tmp_path, said(stroke | {"original_width": 1, "original_height": 1}))
    assert things_in(found_in(tmp_path, boxes)[0].label)[0].box == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("a.png", "a.png"),
        ("s3://bucket/deep/a.png?X=1", "deep/a.png"),
        ("/data/local-files/?d=deep/a.png", "deep/a.png"),
        ("https://host/some%20where/a%20b.png", "a b.png"),
        ("/data/upload/3/0a1b2c3d-a.png", "images/a.png"),
    ],
)
def test_addresses_lead_to_the_pictures_that_are_there(tmp_path, address, file):
    pictures(tmp_path, file)
    export(tmp_path, said(choice("cat")), image=address)
    assert [each.path for each in found_in(tmp_path, labels)] == [tmp_path / file]


def test_nothing_in_an_annotation_is_the_background(tmp_path):
    pictures(tmp_path, "a.png")
    assert list(told(export(tmp_path, said()), boxes).values()) == ["[]"]


def test_several_people_are_all_heard_unless_one_tells_the_truth(tmp_path):
    pictures(tmp_path, "a.png")
    people = [{"id": number, "result": [choice(name)]} for number, name in enumerate(("cat", "dog"))]
    skipped = {"id": 5, "was_cancelled": True, "result": [choice("emu")]}
    export(tmp_path, {"annotations": [*people, skipped]})
    assert [each.label for each in found_in(tmp_path, labels)] == ['["cat"]', '["dog"]']
    people[1]["ground_truth"] = True
    export(tmp_path, {"annotations": people})
    assert [each.label for each in found_in(tmp_path, labels)] == ['["dog"]']


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"annotations": []}, "no_label: export.json, task 7: field annotations: nobody has labelled it"),
        ({"data": {"text": "hello"}, "annotations": []}, "missing: export.json, task 7: field data: found {'text'"),
        (said(rectangle(rotation=30)), "bad_box: .*result r1, field rotation: found 30°, expected upright boxes"),
        (said(rectangle(width=0)), "bad_box: .*result r1, box [4.0, 3.0, 4.0, 9.0] of 'cat' has no area"),
        (said(rectangle(x=90)), "bad_box: .*lies outside its image of 40 x 30 px"),
        (said(rectangle(x="left")), 'bad_label: .*field x: found "left", expected percent'),
        (said(rectangle(rectanglelabels=["a", "b"])), "bad_label: .*expected one label"),
        (said(result("ellipselabels", x=1)), "bad_label: .*field type: found 'ellipselabels', expected choices"),
        (said(result("polygonlabels", points=[1], polygonlabels=["a"])), "bad_polygon: .*field points: found [1]"),
        (said(result("brushlabels", rle=[1, 2], brushlabels=["a"])), "bad_mask: .*field rle: expected the packed mask"),
        (said(result("brushlabels", rle="text", brushlabels=["a"])), "bad_mask: .*field rle"),
    ],
)
def test_what_cannot_be_is_told_with_task_and_field(tmp_path, task, expected):
    pictures(tmp_path, "a.png")
    (found,) = objections(export(tmp_path, task), boxes, format="labelstudio").values()
    code, *rest = expected.split(".*")
    assert found.startswith(code)
    assert all(part in found for part in rest)


def test_a_list_of_nothing_is_refused(tmp_path):
    with pytest.raises(SourceError, match="found an empty list, expected Label Studio's list of tasks"):
        found_in(written(tmp_path / "export.json", "[]"), labels, format="labelstudio")
