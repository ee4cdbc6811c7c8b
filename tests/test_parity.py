"""Parity: what counts as the same answer, and as too different."""

from __future__ import annotations

import numpy as np
import pytest

from components.engine.parity import ParityError, compare, max_difference, useless
from components.params import RungGate
from components.tasks import task_named

TASK = task_named("classification")
CLASSES = ("cat", "dog")
GATE = RungGate(min_agreement=0.97, max_loss=0.01, max_class_loss=0.05)


def answers(*picked: int) -> np.ndarray:
    """Logits that answer the given classes."""
    return np.eye(2, dtype=np.float32)[list(picked)] * 4


def refusal(reference: np.ndarray, candidate: np.ndarray, truth: list[int]) -> str:
    return compare(reference, candidate, np.array(truth), CLASSES, TASK, GATE).refusal


def test_the_same_logits_pass_with_no_difference() -> None:
    same = answers(0, 1, 0, 1)
    found = compare(same, same.copy(), np.array([0, 1, 0, 0]), CLASSES, TASK, GATE)
    assert (found.metric, found.loss, found.agreement, found.max_difference, found.refusal) == (0.75, 0, 1, 0, "")


def test_too_many_other_answers_are_refused_even_when_accuracy_stays() -> None:
    truth = [0, 1] * 50
    reference, candidate = answers(*truth), answers(*truth)
    reference[:4], candidate[4:8] = reference[:4, ::-1], candidate[4:8, ::-1]
    assert refusal(reference, candidate, truth) == (
        "8.0% of images answered differently than fp32; the gate allows 3.0%"
    )


def test_a_loss_of_accuracy_is_refused() -> None:
    truth = [0, 1] * 100
    candidate = answers(*truth)
    candidate[:3] = candidate[:3, ::-1]
    assert refusal(answers(*truth), candidate, truth) == "1.5% of top1 lost; the gate allows 1.0%"


def test_a_loss_in_one_small_class_is_refused_though_the_whole_hides_it() -> None:
    truth = [0] * 960 + [1] * 40
    candidate = answers(*truth)
    candidate[960:963] = answers(0, 0, 0)
    assert refusal(answers(*truth), candidate, truth) == "7.5% of class 'dog' lost; the gate allows 5.0%"


def test_a_gain_in_accuracy_is_no_loss() -> None:
    truth = [0, 1] * 50
    reference = answers(*truth)
    reference[:2] = reference[:2, ::-1]
    assert refusal(reference, answers(*truth), truth) == ""


def test_a_single_image_never_breaks_a_limit() -> None:
    truth = [0] * 10 + [1] * 10
    candidate = answers(*truth)
    candidate[0] = candidate[0, ::-1]
    assert refusal(answers(*truth), candidate, truth) == ""


@pytest.mark.parametrize(
    ("logits", "reason"),
    [
        (np.array([[0, np.nan], [1, 2]]), "1 of 2 outputs are not finite"),
        (np.array([[np.inf, 0], [1, 2]]), "1 of 2 outputs are not finite"),
        (np.array([[1, 2], [1, 2]]), "hardly differ between images"),
        (np.zeros((3, 2)), "hardly differ between images"),
        (np.array([[1e-20, 0], [0, 1e-20]]), "hardly differ between images"),
    ],
    ids=["nan", "infinite", "constant", "zero", "tiny"],
)
def test_outputs_that_would_agree_with_anything_are_useless(logits: np.ndarray, reason: str) -> None:
    found = useless(logits.astype(np.float32))
    assert found is not None
    assert reason in found


def test_the_largest_difference_of_a_logit_is_measured() -> None:
    one = answers(0, 1, 0)
    other = one + np.float32([[0, 0], [0.25, 0], [0, 0.125]])
    assert max_difference(one, other, limit=0.25) == 0.25
    with pytest.raises(ParityError, match=r"Logits differ by 0\.25; export\.max_difference allows 0\.2\b"):
        max_difference(one, other, limit=0.2)


def test_logits_that_differ_less_than_the_limit_prove_nothing() -> None:
    flat = answers(0, 1) * 1e-4
    with pytest.raises(ParityError, match="cannot be judged"):
        max_difference(flat, flat, limit=1e-3)
