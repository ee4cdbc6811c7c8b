"""What the gate promises, counted over thousands of made-up models by the rule that judges real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.params import Params
from components.registry.gate import judge
from components.registry.simulate import gate_errors, simulate_promotion
from tests.test_gate import pair


def test_on_2000_images_an_equal_challenger_is_promoted_5_percent_of_the_time_or_less(params: Params):
    for trials in gate_errors(params.promote)[:2]:
        assert trials.gain == 0
        assert trials.promoted > 0.015
        assert trials.promoted_most < 0.04


def test_one_3_points_better_is_mostly_found(params: Params):
    few, many = gate_errors(params.promote)[2:]
    assert (few.disagreement, many.disagreement) == (0.1, 0.2)
    assert few.promoted_least > 0.98
    assert many.promoted_least > 0.83


def test_many_small_classes_do_not_stop_a_better_challenger(params: Params):
    """A hundred classes of 20 images: in some of them the best of models loses many images by chance."""
    few = simulate_promotion(params.promote, 0.2, 0.03, classes=10, trials=4000)
    many = simulate_promotion(params.promote, 0.2, 0.03, classes=100, trials=4000)
    assert many.promoted == pytest.approx(few.promoted, abs=0.03)


@pytest.mark.parametrize("gain", [-0.04, 0.0, 0.04])
def test_the_simulation_and_the_gate_are_one_rule(params: Params, gain: float):
    """With one class of all images both see nothing but how many images were gained and lost."""
    rule = replace(params.promote, max_class_loss=0.03)
    trials = simulate_promotion(rule, 0.1, gain, images=300, classes=1, trials=200, seed=3)
    shares = [(0.1 + gain) / 2, (0.1 - gain) / 2, 0.9]
    drawn = np.random.default_rng(3).multinomial(300, shares, size=(200, 1))
    verdicts = [
        judge(*pair(int(same), int(gained), int(lost), classes=1), rule).decision for ((gained, lost, same),) in drawn
    ]
    assert trials.promoted == pytest.approx(verdicts.count("promote") / 200)
    assert trials.rejected == pytest.approx(verdicts.count("reject") / 200)


def test_a_benchmark_prints_the_bound_that_matters(params: Params):
    equal = simulate_promotion(params.promote, 0.1, 0.0, trials=1000)
    assert "equal challenger: promoted" in str(equal)
    assert f"at most {equal.promoted_most:.2%} with 95% confidence" in str(equal)
