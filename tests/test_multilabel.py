"""Multi-label: average precision as scikit-learn has it, thresholds tuned on validation, images without any class."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.annotations import Annotation, Box, LabelError, Thing, labels_text
from components.data.dataset import ImageSet
from components.tasks import USUAL, TaskError, classes_of
from components.tasks.curves import average_precision, best_thresholds, logit, precision_and_recall, ranked, sigmoid
from components.tasks.multilabel import Multilabel

TASK = Multilabel()
CLASSES = ("cat", "dog", "owl")
# Answered at 0.5: cat; cat and dog; nothing; owl. True: cat; dog; nothing; owl and dog.
LOGITS = np.array([[2, -1, -3], [1, 3, -2], [-4, -2, -1], [-3, -1, 2]], dtype=np.float32)
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=np.float32)


def labelled(*labels: tuple[str, ...], pixels: np.ndarray | None = None) -> ImageSet:
    n = len(labels)
    found = np.zeros((n, 3, 8, 8), np.uint8) if pixels is None else pixels
    return ImageSet(
        [str(row) for row in range(n)], [labels_text(each) for each in labels], ["val"] * n, found, [(8, 8)] * n
    )


def many(images: int = 200, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = (random.random((images, classes)) < random.uniform(0.05, 0.9, classes)).astype(np.float32)
    return (random.normal(size=targets.shape) + targets).astype(np.float32).round(1), targets  # rounded: many ties


def test_a_label_is_the_sorted_set_of_what_the_source_names():
    cat, dog = (Thing(name, Box(0, 0, 4, 4)) for name in ("cat", "dog"))
    assert TASK.label_of(Annotation(labels=("dog", "cat", "dog"))) == '["cat","dog"]'
    assert TASK.label_of(Annotation(things=(dog, cat, cat))) == '["cat","dog"]'
    assert TASK.label_of(Annotation(areas={"road": "", "car": ""}, size=(4, 4))) == '["car","road"]'


def test_an_image_with_nothing_on_it_is_legal_but_one_of_which_nothing_is_said_is_not():
    assert TASK.label_of(Annotation(labels=())) == TASK.label_of(Annotation(things=())) == "[]"
    assert TASK.check("[]", (8, 8)) == "[]"
    assert TASK.shown("[]") == ()
    with pytest.raises(LabelError, match="no_label"):
        TASK.label_of(Annotation())


def test_a_label_that_is_no_list_is_refused():
    with pytest.raises(LabelError, match="expected JSON"):
        TASK.check("cat", (8, 8))


def test_targets_have_a_one_for_each_class_that_is_shown():
    images = labelled(("dog", "cat"), (), ("owl",))
    assert classes_of(TASK, images.labels) == CLASSES
    targets = TASK.targets(images, CLASSES)
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert TASK.counts(targets, 3).tolist() == [1, 1, 1]


def test_a_label_that_the_model_does_not_know_is_named():
    with pytest.raises(TaskError, match="'emu'"):
        TASK.targets(labelled(("cat", "emu")), CLASSES)


@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from([0, 1, 6]))
@settings(max_examples=60, deadline=None)
def test_average_precision_is_scikit_learns_also_with_ties(seed, images, decimals):
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(seed)
    wanted, scores = random.integers(0, 2, (images, 2)), random.normal(size=(images, 2)).round(decimals)
    wanted[0] = 1
    found = average_precision(ranked(scores, wanted))
    assert found == pytest.approx([average_precision_score(wanted[:, place], scores[:, place]) for place in (0, 1)])


def test_resampled_images_give_the_average_precision_of_the_resample():
    from sklearn.metrics import average_precision_score

    outputs, targets = many()
    measured = TASK.measure("map_multilabel", outputs, targets, "abcde", USUAL)
    for seed in range(5):
        at = np.random.default_rng(seed).integers(0, len(targets), len(targets))
        pairs = [(targets[at, place], outputs[at, place]) for place in range(5)]
        expected = np.mean([average_precision_score(*pair) for pair in pairs if pair[0].any()])
        assert measured(at) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["map_multilabel", "micro_f1", "macro_f1", "exact", "loss"])
def test_every_metric_can_be_measured_on_a_resample(metric):
    outputs, targets = many(40)
    at = np.random.default_rng(1).integers(0, 40, 40)
    measured = TASK.measure(metric, outputs, targets, "abcde", USUAL)
    assert measured(at) == pytest.approx(TASK.metrics(outputs[at], targets[at], "abcde", USUAL)[metric])


def test_two_thousand_resamples_of_a_thousand_images_take_seconds():
    outputs, targets = many(1000, 10)
    measured = TASK.measure("map_multilabel", outputs, targets, "abcdefghij", USUAL)
    began = time.process_time()
    for seed in range(200):
        measured(np.random.default_rng(seed).integers(0, 1000, 1000))
    assert time.process_time() - began < 1.5


def test_metrics_are_those_worked_out_by_hand():
    found = TASK.metrics(LOGITS, TARGETS, CLASSES, USUAL)
    # cat: the first of four. dog: first, and third of a tie with the one before it, 2 of 3. owl: the first.
    assert found["map_multilabel"] == pytest.approx((1 + (1 + 2 / 3) / 2 + 1) / 3)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (4 + 4))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["exact"] == 0.5
    probabilities = sigmoid(LOGITS)
    right = np.where(TARGETS > 0, probabilities, 1 - probabilities)
    assert found["loss"] == pytest.approx(-np.log(right).mean())


def test_a_class_without_images_does_not_pull_averages_down():
    found = TASK.metrics(LOGITS[:1], TARGETS[:1], CLASSES, USUAL)
    assert (found["map_multilabel"], found["macro_f1"], found["exact"]) == (1, 1, 1)


def test_images_without_any_class_have_metrics_too():
    found = TASK.metrics(LOGITS[2:3], TARGETS[2:3], CLASSES, USUAL)
    assert (found["map_multilabel"], found["micro_f1"], found["exact"]) == (0, 0, 1)


def test_per_class_puts_average_precision_beside_the_base_rate_that_a_guess_has():
    cat, dog, owl = TASK.per_class(LOGITS, TARGETS, CLASSES)
    counted = {"class": "cat", "images": 1, "base_rate": 0.25, "threshold": 0.5}
    assert cat == counted | {"ap": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert (dog["images"], dog["base_rate"], dog["recall"]) == (2, 0.5, 0.5)
    assert owl[TASK.class_metric] == 1
    guess = TASK.per_class(np.zeros_like(LOGITS), TARGETS, CLASSES)
    assert [row["ap"] for row in guess] == [row["base_rate"] for row in guess]


def test_scores_are_the_share_of_classes_decided_right():
    assert TASK.class_scores(LOGITS, TARGETS, CLASSES).tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1]]
    assert TASK.scores(LOGITS, TARGETS, CLASSES).tolist() == pytest.approx([1, 2 / 3, 1, 2 / 3])


def test_agreement_is_the_share_of_classes_answered_alike():
    assert TASK.agreement(LOGITS, LOGITS * 2, CLASSES).tolist() == [1, 1, 1, 1]
    assert TASK.agreement(LOGITS, -LOGITS, CLASSES).tolist() == [0, 0, 0, 0]
    assert Multilabel(thresholds={"cat": 0.9}).agreement(LOGITS, LOGITS, CLASSES).tolist() == [1, 1, 1, 1]


def test_tuned_thresholds_have_the_highest_f1_there_is():
    outputs, targets = many(120, 4)
    probabilities = sigmoid(outputs)
    found = best_thresholds(probabilities, targets)
    for place, threshold in enumerate(found):
        tried = {
            float(value): _f1(probabilities[:, place], targets[:, place], value) for value in np.linspace(0, 1, 501)
        }
        assert _f1(probabilities[:, place], targets[:, place], threshold) >= max(tried.values())


def test_where_nothing_speaks_for_another_threshold_it_is_a_half():
    never, always = np.zeros((6, 1), np.float32), np.ones((6, 1), np.float32)
    some = np.array([[0.6], [0.7], [0.8], [0.9], [0.95], [0.99]])
    assert best_thresholds(some, never).tolist() == [0.5]
    assert best_thresholds(some, always).tolist() == [0.5]
    assert best_thresholds(np.array([[0.1], [0.9]]), np.array([[0.0], [1.0]])).tolist() == [0.5]


def test_a_tuned_task_answers_with_its_thresholds_and_leaves_the_old_one_alone():
    shy = LOGITS - 3  # all probabilities too low by the same
    tuned = TASK.tuned(shy, TARGETS, CLASSES)
    assert TASK.thresholds == {}
    assert set(tuned.thresholds) == set(CLASSES)
    assert (
        tuned.metrics(shy, TARGETS, CLASSES, USUAL)["macro_f1"] > TASK.metrics(shy, TARGETS, CLASSES, USUAL)["macro_f1"]
    )
    assert [each.label for each in tuned.decode(shy, CLASSES)][3] == "dog + owl"
    assert [row["threshold"] for row in tuned.per_class(shy, TARGETS, CLASSES)] == list(tuned.thresholds.values())


def test_a_prediction_names_all_classes_above_their_thresholds():
    one, two, none, _ = TASK.decode(LOGITS, CLASSES)
    assert (one.label, two.label, none.label) == ("cat", "cat + dog", "none")
    assert two.confidence == pytest.approx((sigmoid(LOGITS[1, 0]) + sigmoid(LOGITS[1, 1])) / 2)
    assert none.confidence == pytest.approx(1 - sigmoid(LOGITS[2, 2]))
    assert two.margin == pytest.approx(sigmoid(LOGITS[1, 0]) - 0.5)
    assert dict(two.probabilities) == pytest.approx(dict(zip(CLASSES, sigmoid(LOGITS[1]), strict=True)))
    assert {name: two.signals[name] for name in TASK.signals} == {"classes_answered": 2}


def test_what_is_answered_can_be_written_as_a_label():
    task = Multilabel(thresholds={"cat": 0.9})
    assert [task.answered(each, (64, 48), "stretch") for each in task.decode(LOGITS, CLASSES)] == [
        *("[]", '["dog"]', "[]", '["owl"]')
    ]


def test_classes_that_a_model_does_not_know_are_never_answered():
    wide = TASK.widen(LOGITS, CLASSES, ("bat", *CLASSES))
    assert TASK.decode(wide, ("bat", *CLASSES))[1].probabilities["bat"] == 0
    targets = np.pad(TARGETS, ((0, 0), (1, 0)), constant_values=1)
    assert np.isfinite(TASK.metrics(wide, targets, ("bat", *CLASSES), USUAL)["loss"])
    assert TASK.class_scores(wide, targets, ("bat", *CLASSES))[:, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("loss", ["auto", "bce", "focal", "asymmetric"])
def test_every_loss_falls_towards_the_right_answer(loss):
    import torch

    params = SimpleNamespace(loss=loss, gamma=2.0, label_smoothing=0.0)
    outputs = torch.zeros(4, 3, requires_grad=True)
    [slope] = torch.autograd.grad(TASK.loss(outputs, torch.from_numpy(TARGETS), None, params), outputs)
    assert ((slope < 0).numpy() == (TARGETS == 1)).all()


def test_a_loss_of_another_task_is_refused_with_the_ones_that_fit():
    import torch

    with pytest.raises(TaskError, match=r"dice.*auto, bce, focal, asymmetric"):
        TASK.loss(torch.zeros(1, 3), torch.zeros(1, 3), None, SimpleNamespace(loss="dice"))


def test_the_prior_knows_nothing_of_images_and_a_line_tells_bright_from_dark():
    random = np.random.default_rng(0)
    bright = np.arange(40) % 3 == 0
    pixels = np.clip(random.normal(80 + 90 * bright[:, None, None, None], 20, (40, 3, 16, 16)), 0, 255).astype(np.uint8)
    images = labelled(*((("day",) if each else ()) for each in bright), pixels=pixels)
    answers = TASK.baselines(images, images, ("day",))
    targets = TASK.targets(images, ("day",))
    found = {name: TASK.metrics(each, targets, ("day",), USUAL)["map_multilabel"] for name, each in answers.items()}
    assert found["prior"] == pytest.approx(bright.mean())
    assert found["linear"] > 0.95


def test_pictures_show_curves_and_the_images_with_the_most_mistakes():
    images = labelled(("cat",), ("dog",), (), ("dog", "owl"))
    found = TASK.pictures(images, LOGITS, TARGETS, CLASSES, 5)
    assert set(found) == {"precision_recall", "mistakes"}
    assert all(png.startswith(b"\x89PNG") for png in found.values())
    assert found["precision_recall"] == TASK.pictures(images, LOGITS, TARGETS, CLASSES, 5)["precision_recall"]
    assert TASK.pictures(images, LOGITS, TARGETS, ("$a_b", "_$", "\n"), 0)["precision_recall"]


def test_a_curve_runs_through_every_level_of_confidence_once():
    scores, wanted = np.array([[0.9], [0.5], [0.5], [0.1]]), np.array([[1.0], [0.0], [1.0], [0.0]])
    recall, precision = precision_and_recall(ranked(scores, wanted), 0)
    assert recall.tolist() == [0.5, 1, 1]
    assert precision.tolist() == pytest.approx([1, 2 / 3, 0.5])


def test_probabilities_become_logits_and_back():
    values = np.array([0.0, 0.2, 0.5, 1.0])
    assert sigmoid(logit(values)) == pytest.approx([1e-4, 0.2, 0.5, 1 - 1e-4], rel=1e-4)
    assert sigmoid(np.array([-1e9, 1e9], np.float32)).tolist() == [0, 1]


@pytest.mark.parametrize("broken", [LOGITS[:, :2], LOGITS[:2], np.full_like(LOGITS, np.nan)])
def test_outputs_that_do_not_fit_are_refused(broken):
    with pytest.raises(TaskError, match=r"expected|not finite"):
        TASK.metrics(broken, TARGETS, CLASSES, USUAL)


def _f1(probabilities: np.ndarray, wanted: np.ndarray, threshold: float) -> float:
    answered = probabilities >= threshold
    return float(2 * (answered * wanted).sum() / (answered.sum() + wanted.sum()))
