"""Detection: rows of outputs become objects, objects become scores, worked out by hand on a few boxes."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from components.data.annotations import Annotation, Box, LabelError, Thing, things_text
from components.params import EvaluateParams
from components.tasks import TaskError
from components.tasks.boxes import AREA, CLASS, to_pixels
from components.tasks.detection import USUAL, ObjectDetection
from components.tasks.detector_outputs import LOGITS, found_in
from tests.boxed import CLASSES, images_of, outputs, scene

TASK = ObjectDetection()
PARAMS = EvaluateParams(topk=5, calibration_bins=15, mistakes=0, beat_baselines=False)
DISC = ("disc", 0.1, 0.1, 0.4, 0.3)
SQUARE = ("square", 0.5, 0.5, 0.9, 0.8)
TRUTH = [[DISC, SQUARE], [DISC], []]
ANSWERS = [[(*DISC, 0.9), (*SQUARE, 0.8)], [(*DISC, 0.7), (*SQUARE, 0.6)], []]
IMAGES = images_of(TRUTH)
TARGETS = TASK.targets(IMAGES, CLASSES)
OUTPUTS = outputs(ANSWERS)


def test_targets_hold_boxes_in_shares_classes_and_the_area_of_the_picture():
    targets = TASK.targets(images_of([[DISC], []], size=(200, 100)), CLASSES)
    assert targets.shape == (2, 2, 7)
    assert targets[0, 0] == pytest.approx([0.1, 0.1, 0.4, 0.3, 0, 0, 20_000])
    assert targets[1, 0, CLASS] == targets[0, 1, CLASS] == -1
    assert (targets[..., AREA] == 20_000).all()


def test_boxes_are_cut_at_the_middle_square_and_dropped_where_little_is_left():
    wide = (200, 100)  # the square is the middle half
    inside, across, outside = (0.3, 0.2, 0.4, 0.4), (0.1, 0.2, 0.5, 0.4), (0.0, 0.0, 0.26, 1.0)
    images = images_of([[("disc", *inside), ("disc", *across), ("square", *outside)]], wide, fit="crop")
    targets = TASK.targets(images, CLASSES)
    kept = targets[0, targets[0, :, CLASS] >= 0]
    assert kept[:, :4].tolist() == [pytest.approx([0.0, 0.2, 0.5, 0.4]), pytest.approx([0.1, 0.2, 0.3, 0.4])]
    assert kept[0, AREA] == 100 * 100


def test_a_box_comes_back_to_the_pixels_it_was_drawn_in():
    assert to_pixels(Box(0.1, 0.2, 0.3, 0.4), (200, 100), "crop") == pytest.approx((60, 20, 80, 40))
    assert to_pixels(Box(0.1, 0.2, 0.3, 0.4), (200, 100), "stretch") == pytest.approx((20, 20, 60, 40))


def test_a_class_that_the_model_does_not_know_is_named():
    with pytest.raises(TaskError, match="'square'"):
        TASK.targets(IMAGES, ("disc",))


def test_a_source_that_says_nothing_of_objects_is_refused_and_a_background_is_not():
    with pytest.raises(LabelError, match="no_boxes"):
        TASK.label_of(Annotation(labels=("disc",)))
    assert TASK.label_of(Annotation(things=(), size=(10, 10))) == "[]"


def test_a_box_outside_of_its_image_is_refused():
    label = things_text([Thing("disc", Box(5, 5, 50, 20))])
    with pytest.raises(LabelError, match="bad_box"):
        TASK.check(label, (30, 30))
    assert TASK.check(label, (50, 50)) == label


def test_an_image_shows_each_class_once():
    label = images_of([[DISC, DISC, SQUARE]]).labels[0]
    assert TASK.shown(label) == ("disc", "square")
    assert TASK.counts(TARGETS, 2).tolist() == [2, 1]


def test_rows_decode_to_the_boxes_they_were_made_of():
    [found, *_] = found_in(OUTPUTS, 0.5)
    assert found.boxes.tolist() == [pytest.approx(DISC[1:], abs=1e-6), pytest.approx(SQUARE[1:], abs=1e-6)]
    assert found.scores == pytest.approx([0.9, 0.8], abs=1e-6)


def test_of_two_answers_for_one_object_the_surer_stays_and_neighbours_stay_both():
    shifted = ("disc", 0.165, 0.1, 0.465, 0.3, 0.8)  # IoU 0.65
    beside = ("disc", 0.4, 0.1, 0.7, 0.3, 0.7)
    [found] = found_in(outputs([[(*DISC, 0.9), shifted, beside]]), 0.5)
    assert found.scores == pytest.approx([0.9, 0.7], abs=1e-6)


def test_a_prediction_lists_objects_above_the_threshold_of_their_class():
    task = ObjectDetection(thresholds={"disc": 0.65, "square": 0.7})
    both, one, none = task.decode(OUTPUTS, CLASSES)
    assert both.label == "disc + square"
    assert both.confidence == pytest.approx(0.85)
    assert [each.label for each in both.detections] == ["disc", "square"]
    assert (one.label, len(one.detections)) == ("disc", 1)
    assert one.margin == pytest.approx(0.05)  # the disc is as near to its threshold as nothing else
    assert one.probabilities == pytest.approx({"disc": 0.7, "square": 0.6})
    assert (none.label, none.detections, none.signals["objects"]) == ("none", (), 0)
    assert both.signals == pytest.approx({"objects": 2, "box_area": (0.06 + 0.12) / 2})


def test_thresholds_are_those_of_the_best_f1():
    right = [[(*DISC, 0.6)], [(*DISC, 0.55)], [(*SQUARE, 0.3)]]
    wrong = [[("disc", 0.6, 0.6, 0.9, 0.9, 0.2)], [("square", 0.6, 0.1, 0.9, 0.3, 0.9)], []]
    said = outputs([one + other for one, other in zip(right, wrong, strict=True)])
    task = TASK.tuned(said, TASK.targets(images_of([[DISC], [DISC], [SQUARE]]), CLASSES), CLASSES)
    assert 0.2 < task.thresholds["disc"] < 0.55
    assert task.thresholds["square"] < 0.3


def test_a_class_that_is_never_found_keeps_the_usual_threshold():
    assert TASK.tuned(outputs([[], [], []]), TARGETS, CLASSES).thresholds == {"disc": USUAL, "square": USUAL}


def test_metrics_are_those_worked_out_by_hand():
    metrics = TASK.metrics(OUTPUTS, TARGETS, CLASSES, PARAMS)
    # Discs are all found; of the two squares found the surer is right, so precision is 1 up to full recall.
    assert metrics["map"] == metrics["map50"] == metrics["mar"] == pytest.approx(1)
    assert metrics["map_small"] == metrics["map_medium"] == pytest.approx(1)  # discs of 600 px, a square of 1,200
    assert metrics["map_large"] == -1  # there is none
    assert metrics["image_f1"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert math.isfinite(metrics["loss"])


def test_per_class_counts_at_the_thresholds():
    disc, square = TASK.per_class(OUTPUTS, TARGETS, CLASSES)
    assert (disc["images"], disc["objects"], disc["precision"], disc["recall"]) == (2, 2, 1, 1)
    assert (square["precision"], square["recall"], square["ap"]) == (0.5, 1, pytest.approx(1))


def test_scores_are_f1_by_image_and_a_background_left_alone_is_right():
    assert TASK.scores(OUTPUTS, TARGETS, CLASSES) == pytest.approx([1, 2 / 3, 1])
    assert TASK.scores(outputs([[], [], [(*DISC, 0.9)]]), TARGETS, CLASSES).tolist() == [0, 0, 0]


def test_class_scores_leave_out_images_that_have_nothing_to_do_with_a_class():
    found = TASK.class_scores(OUTPUTS, TARGETS, CLASSES)
    assert found[0].tolist() == [1, 1]
    assert found[1].tolist() == [1, 0]  # a square that is not there
    assert np.isnan(found[2]).all()


def test_an_object_within_a_crowd_is_neither_hit_nor_miss():
    crowd = TARGETS.copy()
    crowd[1, 1] = [0.45, 0.45, 1, 1, 1, 1, 10_000]  # squares, not told apart, around the wrong answer
    assert TASK.scores(OUTPUTS, crowd, CLASSES)[1] == 1


def test_agreement_counts_the_objects_that_both_found():
    other = outputs([[(*DISC, 0.9)], [(*DISC, 0.8), (*SQUARE, 0.9)], []])
    assert TASK.agreement(OUTPUTS, other, CLASSES) == pytest.approx([2 / 3, 1, 1])
    moved = outputs([[("disc", 0.3, 0.1, 0.6, 0.3, 0.9), (*SQUARE, 0.8)], *ANSWERS[1:]])
    assert TASK.agreement(OUTPUTS, moved, CLASSES) == pytest.approx([0.5, 1, 1])


def test_outputs_of_fewer_classes_are_put_on_more():
    narrow = outputs([[(*DISC, 0.9)], [], []], classes=("disc",))
    wide = TASK.widen(narrow, ("disc",), CLASSES)
    [found, *_] = TASK.decode(wide, CLASSES)
    assert (found.label, found.probabilities["square"]) == ("disc", 0)
    assert TASK.metrics(wide, TARGETS, CLASSES, PARAMS)["map"] < 0.5


@pytest.mark.parametrize("metric", ["map", "map50", "map_medium", "mar", "loss"])
def test_a_measure_of_all_images_is_the_metric(metric: str):
    measure = TASK.measure(metric, OUTPUTS, TARGETS, CLASSES, PARAMS)
    assert measure is not None
    assert measure(np.arange(3)) == pytest.approx(TASK.metrics(OUTPUTS, TARGETS, CLASSES, PARAMS)[metric])
    assert measure(np.array([0, 0])) == pytest.approx(measure(np.array([0])))


def test_a_metric_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(TaskError, match=r"'top1'.*map50"):
        TASK.measure("top1", OUTPUTS, TARGETS, CLASSES, PARAMS)
    assert TASK.measure("image_f1", OUTPUTS, TARGETS, CLASSES, PARAMS) is None


def test_outputs_of_another_number_of_classes_are_refused():
    with pytest.raises(TaskError, match=r"\(3, 256, 9\).*\(3, rows, 8\)"):
        TASK.metrics(OUTPUTS, TARGETS, ("disc",), PARAMS)


def test_outputs_that_are_no_numbers_are_refused():
    broken = OUTPUTS.copy()
    broken[1, 7, LOGITS] = np.nan
    with pytest.raises(TaskError, match="1 of 3 images"):
        TASK.metrics(broken, TARGETS, CLASSES, PARAMS)


def test_the_best_the_worst_and_random_images_are_drawn():
    drawn = [scene(seed) for seed in range(3)]
    images = images_of([objects for _, objects in drawn])
    object.__setattr__(images, "pixels", np.stack([pixels for pixels, _ in drawn]))
    answers = [[(*each, 0.9) for each in objects] for _, objects in drawn]
    pictures = TASK.pictures(images, outputs(answers), TASK.targets(images, CLASSES), CLASSES, 2)
    assert sorted(pictures) == ["best", "random", "worst"]
    assert Image.open(io.BytesIO(pictures["best"])).width > 2 * 300
