"""Average precision: the same numbers as pycocotools' own sums, of all images and of images drawn again and again."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.tasks.average_precision import METRICS, AveragePrecision
from components.tasks.boxes import AREA, CLASS, CROWD, WIDTH
from components.tasks.detector_outputs import Found

CLASSES = 3
SIDE = 300  # px of the square original
ORDER = {"map": 0, "map50": 1, "map75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "mar": 8}  # in COCO's stats


def invented(images: int, seed: int, crowds: bool = False) -> tuple[list[Found], np.ndarray]:
    """Random boxes, and answers that are some of them moved a little, some of another class, and some from nowhere."""
    random = np.random.default_rng(seed)
    targets = np.zeros((images, 9, WIDTH), dtype=np.float32)
    targets[..., CLASS], targets[..., AREA] = -1, SIDE**2
    found = []
    for target in targets:
        count = random.integers(0, 9)
        target[:count, :4] = boxes(random, count)
        target[:count, CLASS] = random.integers(0, CLASSES, count)
        target[:count, CROWD] = crowds & (random.random(count) < 0.15)
        moved = (target[:count, :4] + random.normal(0, 0.012, (count, 4))).clip(0, 1)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.01)
        other = random.integers(0, CLASSES, count)
        classes = np.where(random.random(count) < 0.85, target[:count, CLASS], other).astype(np.intp)
        nowhere = boxes(random, 3)
        scores = -np.sort(-random.random(count + 3))
        order = random.permutation(count + 3)
        places = np.concatenate([classes, random.integers(0, CLASSES, 3)])
        found.append(Found(np.concatenate([moved, nowhere])[order], places[order], scores))
    return found, targets


def boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner, sides = random.random((count, 2)) * 0.5, random.uniform(0.03, 0.5, (count, 2))
    return np.concatenate([corner, corner + sides], axis=1)


def as_coco_sums(found: list[Found], targets: np.ndarray) -> np.ndarray:
    """pycocotools' twelve numbers, from data sets written as its users write them."""
    true, answers = [], []
    for image, (each, target) in enumerate(zip(found, targets, strict=True)):
        for row in target[target[:, CLASS] >= 0].astype(np.float64):
            true.append(entry(image, row[:4], row[CLASS]) | {"id": len(true) + 1, "iscrowd": int(row[CROWD])})
        for box, place, score in zip(each.boxes, each.classes, each.scores, strict=True):
            answers.append(entry(image, box, place) | {"score": float(score)})
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        pictures = [{"id": image, "width": SIDE, "height": SIDE} for image in range(len(found))]
        coco.dataset = {"images": pictures, "annotations": true, "categories": [{"id": at} for at in range(CLASSES)]}
        coco.dataset["info"] = {}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(answers), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


def entry(image: int, box: np.ndarray, place: float) -> dict[str, object]:
    left, top, right, bottom = (float(edge) * SIDE for edge in box)
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": int(place), "bbox": [left, top, width, height], "area": width * height}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crowds", [False, True])
def test_all_seven_numbers_are_those_of_pycocotools(seed: int, crowds: bool):
    found, targets = invented(40, seed, crowds)
    expected, judged = as_coco_sums(found, targets), AveragePrecision(found, targets, CLASSES)
    assert {metric: judged.mean(metric) for metric in METRICS} == {
        metric: pytest.approx(expected[place], abs=1e-9) for metric, place in ORDER.items()
    }


def test_images_drawn_with_repeats_give_what_pycocotools_says_of_the_repeated_images():
    found, targets = invented(25, 7)
    judged = AveragePrecision(found, targets, CLASSES)
    random = np.random.default_rng(0)
    for _ in range(4):
        places = random.integers(0, 25, 25)
        expected = as_coco_sums([found[place] for place in places], targets[places])
        for metric, place in ORDER.items():
            assert judged.mean(metric, places) == pytest.approx(expected[place], abs=1e-9)


def test_a_class_without_boxes_is_no_part_of_the_mean():
    found, targets = invented(20, 1)
    judged, more = AveragePrecision(found, targets, CLASSES), AveragePrecision(found, targets, CLASSES + 2)
    assert more.mean("map") == judged.mean("map")
    assert more.of_classes()[-1] == (-1, -1)


def test_the_mean_of_the_classes_is_the_mean():
    judged = AveragePrecision(*invented(20, 2), CLASSES)
    assert np.mean([ap for ap, _ in judged.of_classes()]) == pytest.approx(judged.mean("map"))
    assert np.mean([ap50 for _, ap50 in judged.of_classes()]) == pytest.approx(judged.mean("map50"))


def test_without_any_box_there_is_no_average_precision():
    found, targets = invented(3, 3)
    targets[..., CLASS] = -1
    nothing = Found(np.zeros((0, 4)), np.zeros(0, dtype=np.intp), np.zeros(0))
    assert AveragePrecision(found, targets, CLASSES).mean("map") == -1
    assert AveragePrecision([nothing] * 3, targets, CLASSES).mean("mar") == -1


def test_a_thousand_choices_of_images_take_seconds():
    judged = AveragePrecision(*invented(100, 4), CLASSES, sizes=("all",))
    random = np.random.default_rng(0)
    began = time.process_time()
    for _ in range(200):
        judged.mean("map", random.integers(0, 100, 100))
    assert time.process_time() - began < 2.0  # 0.2 s on one quiet core


def test_nothing_is_printed_also_where_print_is_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr("builtins.print", lambda *words: said.append(words))
    nothing = Found(np.zeros((0, 4)), np.zeros(0, dtype=np.intp), np.zeros(0))
    AveragePrecision([nothing], np.array([[[0.1, 0.1, 0.5, 0.5, 0, 0, 10_000]]], dtype=np.float32), 1)
    assert said == []
