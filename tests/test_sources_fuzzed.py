"""Whatever stands in a file of annotations: an answer for each image, or one clear error, and never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.annotations import Annotation
from components.data.sources import Found, SourceError, open_source
from tests.annotated import HEIGHT, WIDTH, areas, boxes, labels, mask, pictures, voc, voc_object, written

ROUNDS = 150
ODD: list[Any] = [
    *(None, True, 0, -1, 7, 1e308, 2**70, float("nan"), float("inf")),
    *("", "a.png", "../a.png", "\0", "\ud800", "é" * 300),
    *([], [[]], [1, 2], {}, {"counts": "01", "size": [1, 1]}, [[1, 2, 3, 4, 5, 6]], {"id": 1}, "NaN", "1e999"),
]  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}, {"id": 2, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1, 1, 5, 1, 5, 5]]},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "segmentation": {"size": [30, 40], "counts": [600, 600]},
            "iscrowd": 1,
        },
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "void"}],
}
STUDIO = [
    {
        "id": number,
        "data": {"image": name},
        "annotations": [
            {
                "id": 1,
                "result": [
                    {
                        "type": kind,
                        "original_width": WIDTH,
                        "original_height": HEIGHT,
                        "value": {
                            "x": 1,
                            "y": 1,
                            "width": 5,
                            "height": 5,
                            kind: ["cat"],
                            "points": [[1, 1], [9, 1], [9, 9]],
                        },
                    }
                ],
            }
        ],
    }
    for number, (name, kind) in enumerate({"a.png": "rectanglelabels", "b.png": "polygonlabels"}.items())
]


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in `content`."""
    if here:
        yield here
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from places(value, (*here, key))


def broken(content: Any, random: np.random.Generator) -> Any:
    """A copy with one to three values replaced by odd ones, or left out."""
    made = copy.deepcopy(content)
    for _ in range(random.integers(1, 4)):
        ways = list(places(made))
        *outer, last = ways[random.integers(len(ways))]
        within = made
        for key in outer:
            within = within[key]
        choice = random.integers(len(ODD) + 1)
        if choice == len(ODD):
            del within[last]
        else:
            within[last] = copy.deepcopy(ODD[choice])
        if not made:
            return made
    return made


def answers(path: Path, read: Callable[[Annotation], str], kind: str) -> list[Found]:
    try:
        found = list(open_source(path, read, kind).files())
    except SourceError:
        return []
    for each in found:
        assert (each.label is None) != (each.objection is None)
        f"{each.name} {each.said_by} {each.label} {each.objection} {each.place}".encode()
    return found


@pytest.mark.parametrize("read", [labels, boxes, areas], ids=lambda read: read.__name__)
@pytest.mark.parametrize(("kind", "content"), [("coco", COCO), ("labelstudio", STUDIO)], ids=["coco", "labelstudio"])
def test_json_with_odd_values(tmp_path, kind, content, read):
    pictures(tmp_path, "a.png", "b.png")
    random = np.random.default_rng(7)
    useful = 0
    for _ in range(ROUNDS):
        path = written(tmp_path / "list.json", json.dumps(broken(content, random)))
        useful += any(each.label for each in answers(path, read, kind))
    assert read is areas or useful > ROUNDS / 4


@pytest.mark.parametrize("kind", ["voc", "yolo", "masks", "table", "coco"])
def test_files_with_flipped_bytes(tmp_path, kind):
    pictures(tmp_path, "images/a.png")
    files = {
        "voc": lambda: voc(tmp_path / "a.xml", voc_object("cat", 1, 2, 30, 20), filename="a.png"),
        "yolo": lambda: written(tmp_path / "labels/a.txt", "0 .5 .5 .2 .2\n1 .1 .1 .5 .1 .5 .5\n"),
        "masks": lambda: mask(tmp_path / "masks/a.png", np.zeros((HEIGHT, WIDTH)), "P"),
        "table": lambda: written(tmp_path / "t.csv", "path;label;left;top;right;bottom\nimages/a.png;cat;1;2;3;4\n"),
        "coco": lambda: written(tmp_path / "list.json", json.dumps(COCO)),
    }
    read = areas if kind == "masks" else boxes
    whole = files[kind]().read_bytes()
    path = files[kind]()
    random = np.random.default_rng(7)
    for _ in range(ROUNDS):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 6)):
            data[place] = random.integers(256)
        path.write_bytes(data[: random.integers(1, len(data))] if random.random() < 0.2 else data)
        answers(path if kind in {"table", "coco"} else tmp_path, read, kind)
