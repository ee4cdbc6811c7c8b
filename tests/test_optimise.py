"""Learning rates, weight decay and the moving average do what params.yaml says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from components.model.classifiers import class_layers
from components.model.layer_rates import depths_in
from components.model.nets import Normalised
from components.model.optimise import Average, optimizer_for, rate, set_rate
from components.model.zoo import build
from tests.training import IMAGE, PARAMS


def rates(**changes: Any) -> list[float]:
    params = replace(PARAMS, lr=1.0, epochs=10, **changes)
    return [rate(step, 100, 10, params) for step in range(100)]


def test_cosine_rises_over_the_warm_up_and_falls_to_nothing():
    found = rates(schedule="cosine", warmup_epochs=2)
    assert np.all(np.diff(found[:21]) > 0)
    assert found[20] == 1.0
    assert found[60] == pytest.approx(0.5)
    assert found[-1] < 0.001


def test_onecycle_is_a_triangle():
    found = rates(schedule="onecycle", warmup_epochs=0)
    assert int(np.argmax(found)) == 30
    assert found[30] == 1.0
    assert np.diff(found[30:]) == pytest.approx(-1 / 70)
    assert int(np.argmax(rates(schedule="onecycle", warmup_epochs=1.5))) == 15


def test_step_divides_by_ten_twice():
    found = rates(schedule="step", warmup_epochs=0)
    assert sorted(set(np.round(found, 6)), reverse=True) == [1.0, 0.1, 0.01]
    assert [found.index(value) for value in sorted(set(found), reverse=True)] == [0, 60, 85]


def test_a_warm_up_longer_than_the_training_still_ends():
    params = replace(PARAMS, lr=1.0, warmup_epochs=50.0)
    assert max(rate(step, 30, 10, params) for step in range(30)) == 1.0


def optimizer(**changes: Any) -> torch.optim.Optimizer:
    net = build("classifier", "resnet9", 3, "none")
    return optimizer_for(net, replace(PARAMS, **changes), depths_in(net, class_layers(net)))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_biases_and_normalisation_do_not_decay(kind: Any):
    groups = optimizer(optimizer=kind).param_groups
    assert {group["weight_decay"] for group in groups} == {PARAMS.weight_decay, 0}
    for group in groups:
        assert all((each.ndim > 1) == (group["weight_decay"] > 0) for each in group["params"])
    assert sum(len(group["params"]) for group in groups) == len(
        list(build("classifier", "resnet9", 3, "none").parameters())
    )


def test_sgd_uses_the_momentum_of_the_params():
    defaults = optimizer(optimizer="sgd", momentum=0.8).defaults
    assert (defaults["momentum"], defaults["nesterov"]) == (0.8, True)


def test_with_layer_decay_the_rate_falls_block_by_block_towards_the_image():
    found = optimizer(layer_decay=0.5)
    set_rate(found, 0.1, 1.0)
    rates = sorted({group["lr"] for group in found.param_groups}, reverse=True)
    assert rates[0] == 0.1
    assert np.divide(rates[1:], rates[:-1]) == pytest.approx(0.5)
    assert len(rates) > 4


def test_the_body_may_learn_at_a_share_of_the_rate_of_the_head():
    found = optimizer()
    set_rate(found, 0.1, 0.1)
    assert {group["body"]: group["lr"] for group in found.param_groups} == pytest.approx({False: 0.1, True: 0.01})


def test_the_average_follows_slowly_and_the_start_does_not_linger():
    model = Normalised(torch.nn.Linear(1, 1, bias=False), IMAGE.mean, IMAGE.std)
    average = Average(model, 0.9)
    torch.nn.init.constant_(model.net.weight, 100.0)
    for step in range(200):
        average.update(model, step)
    assert average.model.net.weight.item() == pytest.approx(100.0, abs=0.01)
    torch.nn.init.constant_(model.net.weight, 200.0)
    average.update(model, 200)
    assert average.model.net.weight.item() == pytest.approx(110.0, abs=0.01)
