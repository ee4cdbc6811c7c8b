"""The benchmarks of reading and of training steps measure both sides and tell ratios with honest intervals."""

from __future__ import annotations

import numpy as np
import pytest

from components.model.training_benchmark import bench_data_path, bench_step, median_interval


def test_the_interval_of_a_median_is_made_of_order_statistics():
    values = np.arange(1.0, 21.0)
    assert median_interval(values) == (10.5, 6.0, 15.0)  # of 20 values the 6th and the 15th: 95.9%
    assert median_interval(values[::-1]) == (10.5, 6.0, 15.0)
    assert median_interval(np.array([2.0])) == (2.0, 2.0, 2.0)


def test_the_interval_encloses_the_true_median_as_often_as_it_says():
    random = np.random.default_rng(0)
    found = [median_interval(random.exponential(size=20)) for _ in range(2000)]
    assert np.mean([low <= np.log(2) <= high for _, low, high in found]) >= 0.95


@pytest.mark.slow
def test_images_reach_the_training_loop_faster_than_by_imagefolder():
    theirs, epoch, decoded = bench_data_path(workers=2, images=200, rounds=3)
    assert theirs["ratio"] == 1
    assert float(str(epoch["ratio"])) >= 1.5
    assert float(str(decoded["images_per_s"])) < float(str(epoch["images_per_s"]))


@pytest.mark.slow
def test_a_step_is_timed_beside_a_bare_loop():
    bare, ours = bench_step(pairs=3)
    assert bare["ratio"] == 1
    assert 0 < float(str(ours["low"])) <= float(str(ours["ratio"])) <= float(str(ours["high"]))
