"""Losses: worked out by hand on a few numbers, deaf to what is not judged, and lower for a better answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from components.tasks import losses
from components.tasks.areas import IGNORED

PLAIN = SimpleNamespace(gamma=2.0, label_smoothing=0.0)
PIXELS = (losses.cross_entropy, losses.focal, losses.dice, losses.iou, losses.dice_cross_entropy)
LABELS = (losses.bce, losses.sigmoid_focal, losses.asymmetric)
TARGETS = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]]], dtype=torch.uint8)


def sure_of(targets: torch.Tensor, classes: int = 3, height: float = 4.0) -> torch.Tensor:
    """(N, C, S, S): logits of a net that gives each pixel the class of `targets`."""
    places = targets.long().masked_fill(targets == IGNORED, 0)
    return torch.nn.functional.one_hot(places, classes).permute(0, 3, 1, 2) * height


@pytest.mark.parametrize("loss", PIXELS)
def test_a_surer_right_answer_costs_less_and_a_wrong_one_more(loss):
    blank, wrong = torch.zeros(1, 3, 4, 4), sure_of((TARGETS + 1) % 3)
    costs = [
        loss(each, TARGETS, None, PLAIN) for each in (sure_of(TARGETS, height=9.0), sure_of(TARGETS), blank, wrong)
    ]
    assert costs == sorted(costs)
    assert costs[0] < 0.5 * costs[1] < costs[1] < costs[2] < costs[3]


@pytest.mark.parametrize("loss", PIXELS)
def test_what_is_answered_where_nothing_is_judged_changes_nothing(loss):
    targets = TARGETS.clone()
    targets[:, 0] = IGNORED
    outputs = sure_of(TARGETS).float().requires_grad_()
    other = outputs.detach().clone()
    other[:, :, 0] = torch.randn(3, 4) * 10
    found = loss(outputs, targets, None, PLAIN)
    assert found == loss(other, targets, None, PLAIN)
    [gradient] = torch.autograd.grad(found, outputs)
    assert gradient[:, :, 0].abs().max() == 0
    assert gradient[:, :, 1:].abs().max() > 0


@pytest.mark.parametrize("loss", PIXELS)
def test_a_batch_without_a_judged_pixel_costs_nothing_and_breaks_nothing(loss):
    outputs = torch.randn(2, 3, 4, 4, requires_grad=True)
    found = loss(outputs, torch.full((2, 4, 4), IGNORED, dtype=torch.uint8), None, PLAIN)
    assert found == 0
    assert torch.autograd.grad(found, outputs)[0].abs().max() == 0


@pytest.mark.parametrize("loss", PIXELS)
def test_logits_coarser_than_the_targets_are_enlarged_bilinearly(loss):
    coarse = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(4, 4), mode="bilinear", align_corners=False)
    targets = TARGETS.repeat(2, 1, 1)
    assert torch.allclose(loss(coarse, targets, None, PLAIN), loss(fine, targets, None, PLAIN))


@pytest.mark.parametrize("loss", PIXELS)
def test_a_class_that_weighs_more_pulls_a_pixel_loss_towards_its_own(loss):
    outputs = sure_of(torch.where(TARGETS == 1, 0, TARGETS))  # class 1 is never answered
    heavy = loss(outputs, TARGETS, torch.tensor([1.0, 9.0, 1.0]), PLAIN)
    assert heavy > loss(outputs, TARGETS, None, PLAIN) > loss(outputs, TARGETS, torch.tensor([1.0, 0.1, 1.0]), PLAIN)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weights, smoothing):
    outputs = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = TARGETS.clone()
    targets[0, 0, 0] = IGNORED
    expected = torch.nn.functional.cross_entropy(
        outputs, targets.long(), weight=weights, ignore_index=IGNORED, label_smoothing=smoothing
    )
    found = losses.cross_entropy(outputs, targets, weights, SimpleNamespace(label_smoothing=smoothing))
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_focal_without_its_exponent_is_cross_entropy():
    outputs = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = losses.focal(outputs, TARGETS, None, SimpleNamespace(gamma=0.0, label_smoothing=0.0))
    assert found == pytest.approx(losses.cross_entropy(outputs, TARGETS, None, PLAIN).item(), rel=1e-6)


def test_focal_scales_each_pixel_by_how_wrong_it_is():
    outputs = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    right = torch.tensor(2.0).sigmoid()
    found = losses.focal(outputs, torch.zeros(1, 1, 1, dtype=torch.uint8), None, PLAIN)
    assert found == pytest.approx((-right.log() * (1 - right) ** 2).item(), rel=1e-5)


def test_dice_and_iou_of_half_an_overlap_are_a_half_and_a_third():
    targets = torch.zeros(1, 40, 40, dtype=torch.uint8)
    targets[:, :, 20:] = 1
    answered = torch.zeros_like(targets)
    answered[:, 20:, :] = 1  # of either class half lies where it belongs
    outputs = sure_of(answered, classes=2, height=50.0)
    assert losses.dice(outputs, targets, None, PLAIN) == pytest.approx(1 / 2, abs=2e-3)
    assert losses.iou(outputs, targets, None, PLAIN) == pytest.approx(2 / 3, abs=2e-3)


def test_a_class_that_does_not_occur_in_the_batch_has_no_part_in_dice():
    three = losses.dice(sure_of(TARGETS), TARGETS, None, PLAIN)
    absent = torch.full((1, 1, 4, 4), -50.0)
    assert losses.dice(torch.cat([sure_of(TARGETS), absent], 1), TARGETS, None, PLAIN) == pytest.approx(three.item())


def test_dice_cross_entropy_is_the_sum_of_both():
    outputs = sure_of(TARGETS)
    parts = [loss(outputs, TARGETS, None, PLAIN).item() for loss in (losses.dice, losses.cross_entropy)]
    assert losses.dice_cross_entropy(outputs, TARGETS, None, PLAIN) == pytest.approx(sum(parts))


@pytest.mark.parametrize("loss", LABELS)
def test_right_labels_cost_less_than_doubt_and_doubt_less_than_wrong_ones(loss):
    wanted = torch.tensor([[1.0, 0.0]])
    right, doubt, wrong = (torch.tensor([[x, -x]]) for x in (4.0, 0.0, -4.0))
    costs = [loss(outputs, wanted, None, PLAIN) for outputs in (right, doubt, wrong)]
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("loss", LABELS)
def test_a_label_that_weighs_more_costs_more(loss):
    outputs, wanted = torch.tensor([[-1.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    assert loss(outputs, wanted, torch.tensor([9.0, 1.0]), PLAIN) > loss(outputs, wanted, None, PLAIN)


@pytest.mark.parametrize("loss", LABELS)
def test_losses_of_extreme_logits_and_mixed_labels_stay_finite(loss):
    outputs = torch.tensor([[100.0, -100.0, 0.0]], requires_grad=True)
    found = loss(outputs, torch.tensor([[0.0, 1.0, 0.4]]), None, SimpleNamespace(gamma=2.0, label_smoothing=0.1))
    assert torch.isfinite(found)
    assert torch.isfinite(torch.autograd.grad(found, outputs)[0]).all()


def test_label_smoothing_makes_certainty_cost_something():
    outputs, wanted = torch.tensor([[20.0, -20.0]]), torch.tensor([[1.0, 0.0]])
    smooth = losses.bce(outputs, wanted, None, SimpleNamespace(label_smoothing=0.1))
    assert smooth == pytest.approx(20 * 0.05, rel=1e-4)


def test_sigmoid_focal_is_the_formula_of_the_paper():
    p = torch.tensor(1.0).sigmoid()
    found = losses.sigmoid_focal(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]), None, PLAIN)
    expected = (-((1 - p) ** 2) * p.log() - p**2 * (1 - p).log()) / 2
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_asymmetric_loss_forgets_absent_classes_that_hardly_seem_present():
    absent = torch.zeros(1, 1)
    assert losses.asymmetric(torch.tensor([[-3.0]]), absent, None, PLAIN) == 0  # p = 0.047, below the margin of 0.05
    assert losses.bce(torch.tensor([[-3.0]]), absent, None, PLAIN) > 0.04
    assert losses.asymmetric(torch.tensor([[-3.0]]), absent + 1, None, PLAIN) > 3
