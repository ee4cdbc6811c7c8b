"""Classification: logits become predictions and metrics, worked out by hand on a handful of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.data.annotations import Annotation, LabelError
from components.data.dataset import ImageSet
from components.params import TrainParams
from components.tasks import USUAL, TaskError, classes_of, task_named
from components.tasks.classification import calibration_error, confusion, softmax

TASK = task_named("classification")
CLASSES = ("cat", "dog", "owl")
# The answers are cat, cat, dog, owl; the truth is cat, dog, dog, owl.
LOGITS = np.array([[2, 1, 0], [2, 1, 0], [0, 3, 1], [0, 1, 5]], dtype=np.float32)
TARGETS = np.array([0, 1, 1, 2])


def labelled(*labels: str) -> ImageSet:
    n = len(labels)
    return ImageSet(list(labels), list(labels), ["val"] * n, np.zeros((n, 3, 8, 8), np.uint8), [(8, 8)] * n)


def with_loss(label_smoothing: float = 0.0, loss: str = "auto") -> TrainParams:
    from tests.training import PARAMS

    return replace(PARAMS, label_smoothing=label_smoothing, loss=loss)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(TaskError, match=r"'detektion'.*classification"):
        task_named("detektion")


def test_classes_are_the_sorted_labels():
    assert classes_of(TASK, "bab") == ("a", "b")


def test_a_source_must_give_exactly_one_label():
    assert TASK.label_of(Annotation(labels=("cat",))) == "cat"
    for labels, code in ((None, "no_label"), ((), "no_label"), (("cat", "dog"), "many_labels")):
        with pytest.raises(LabelError, match=code):
            TASK.label_of(Annotation(labels=labels))


def test_a_label_of_a_whole_page_is_refused():
    with pytest.raises(LabelError, match="201 letters"):
        TASK.check("x" * 201, (8, 8))


def test_targets_are_places_in_the_classes():
    assert TASK.targets(labelled("owl", "cat"), CLASSES).tolist() == [2, 0]


def test_a_label_that_the_model_does_not_know_is_named():
    with pytest.raises(TaskError, match="'emu'"):
        TASK.targets(labelled("cat", "emu"), CLASSES)


def test_a_prediction_carries_label_confidence_margin_and_every_probability():
    [prediction] = TASK.decode(np.log(np.array([[0.2, 0.7, 0.1]], dtype=np.float32)), CLASSES)
    assert prediction.label == "dog"
    assert prediction.confidence == pytest.approx(0.7)
    assert prediction.margin == pytest.approx(0.5)
    assert dict(prediction.probabilities) == pytest.approx({"cat": 0.2, "dog": 0.7, "owl": 0.1})


def test_huge_logits_give_finite_probabilities():
    assert softmax(np.array([[1e4, 0, -1e4]], dtype=np.float32)).tolist() == [[1, 0, 0]]


def test_metrics_are_those_worked_out_by_hand():
    metrics = TASK.metrics(LOGITS, TARGETS, CLASSES, replace(USUAL, topk=2))
    assert metrics["top1"] == 0.75
    assert metrics["top2"] == 1.0
    assert metrics["mean_class_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    truth = softmax(LOGITS)[range(4), TARGETS]
    assert metrics["loss"] == pytest.approx(-np.log(truth).mean())


def test_a_class_without_images_does_not_pull_averages_down():
    assert TASK.metrics(LOGITS[:1], TARGETS[:1], CLASSES, USUAL)["mean_class_accuracy"] == 1.0


def test_top5_of_three_classes_is_one():
    assert TASK.metrics(LOGITS, TARGETS, CLASSES, USUAL)["top5"] == 1.0


def test_equal_logits_do_not_all_count_as_right():
    metrics = TASK.metrics(np.zeros((3, 3), dtype=np.float32), np.array([0, 1, 2]), CLASSES, replace(USUAL, topk=2))
    assert metrics["top1"] == pytest.approx(1 / 3)
    assert metrics["top2"] == pytest.approx(2 / 3)


def test_per_class_counts_precision_and_recall():
    cat, dog, owl = TASK.per_class(LOGITS, TARGETS, CLASSES)
    assert cat == {"class": "cat", "images": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert (dog["images"], dog["precision"], dog["recall"]) == (2, 1.0, 0.5)
    assert owl["f1"] == 1.0


def test_confusion_has_truth_in_rows():
    assert confusion(LOGITS, TARGETS, 3).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    sure = np.array([[0.9, 0.1]] * 10)
    assert calibration_error(sure, np.array([0] * 9 + [1]), 15) == pytest.approx(0.0)
    assert calibration_error(sure, np.array([0] * 5 + [1] * 5), 15) == pytest.approx(0.4)


def test_scores_average_to_the_primary_metric():
    assert TASK.scores(LOGITS, TARGETS, CLASSES).mean() == TASK.metrics(LOGITS, TARGETS, CLASSES, USUAL)[TASK.primary]


def test_agreement_looks_at_answers_not_at_logits():
    assert TASK.agreement(LOGITS, LOGITS * 2, CLASSES).all()
    assert TASK.agreement(LOGITS, -LOGITS, CLASSES).tolist() == [0, 0, 0, 0]


def test_logits_of_another_number_of_classes_are_refused():
    with pytest.raises(TaskError, match=r"\(4, 3\).*\(4, 2\)"):
        TASK.metrics(LOGITS, TARGETS, CLASSES[:2], USUAL)


def test_logits_that_are_no_numbers_are_refused():
    broken = LOGITS.copy()
    broken[1, 2] = np.nan
    with pytest.raises(TaskError, match="1 of 4 images"):
        TASK.metrics(broken, TARGETS, CLASSES, USUAL)


def test_a_sure_right_answer_costs_less_than_a_sure_wrong_one():
    import torch

    logits = torch.tensor([[5.0, 0.0, 0.0]])
    right, smooth = (TASK.loss(logits, torch.tensor([0]), None, with_loss(smoothing)) for smoothing in (0.0, 0.1))
    assert right < smooth < TASK.loss(logits, torch.tensor([1]), None, with_loss())


def test_class_weights_shift_the_loss_towards_the_heavier_class():
    import torch

    logits, targets = torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]), torch.tensor([0, 1])
    heavy = TASK.loss(logits, targets, torch.tensor([1.0, 9.0, 1.0]), with_loss())
    assert heavy > TASK.loss(logits, targets, None, with_loss())


def test_focal_loss_counts_easy_images_less():
    import torch

    logits, targets = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]), torch.tensor([0, 0])  # one easy, one wrong
    easy, wrong = (TASK.loss(logits[[row]], targets[[row]], None, with_loss(loss="focal")) for row in (0, 1))
    plain = [TASK.loss(logits[[row]], targets[[row]], None, with_loss()) for row in (0, 1)]
    assert easy < 0.01 * plain[0]
    assert wrong > 0.9 * plain[1]


def test_class_scores_stand_in_the_column_of_the_truth():
    table = TASK.class_scores(LOGITS, TARGETS, CLASSES)
    assert np.nanmean(table, axis=0).tolist() == [1.0, 0.5, 1.0]
    assert np.isnan(table).sum() == 8


def test_a_class_that_a_model_does_not_know_is_never_answered():
    wide = TASK.widen(LOGITS, CLASSES, ("ape", *CLASSES))
    assert [answer.label for answer in TASK.decode(wide, ("ape", *CLASSES))] == ["cat", "cat", "dog", "owl"]
