"""The two-sample tests are those of scipy, for many windows at once; small classes are merged before they count."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.monitoring.two_sample import (
    MIN_EXPECTED,
    bins,
    chi_squared,
    fisher_greater,
    kolmogorov_smirnov,
    total_variation,
    wasserstein,
)


@pytest.mark.parametrize("digits", [8, 1], ids=["no ties", "many ties"])
@pytest.mark.parametrize(("m", "n"), [(300, 200), (400, 200), (37, 200)])
def test_distances_are_those_of_scipy(m: int, n: int, digits: int) -> None:
    random = np.random.default_rng(0)
    reference = np.sort(random.normal(size=m).round(digits))
    windows = np.sort(random.normal(0.3, 1.2, size=(3, n)).round(digits), axis=1)
    statistic, p = kolmogorov_smirnov(reference, windows)
    for row, window in enumerate(windows):
        known = stats.ks_2samp(reference, window, method="asymp")
        assert statistic[row] == pytest.approx(known.statistic)
        assert np.log(p[row]) == pytest.approx(np.log(known.pvalue), abs=0.5)
        assert wasserstein(reference, windows)[row] == pytest.approx(stats.wasserstein_distance(reference, window))


def test_kolmogorov_smirnov_alarms_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    reference, windows = np.sort(random.normal(size=(400, 800))), np.sort(random.normal(size=(400, 50, 200)))
    p = np.concatenate([kolmogorov_smirnov(*pair)[1] for pair in zip(reference, windows, strict=True)])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.01)


def test_chi_squared_is_that_of_scipy() -> None:
    reference, window = np.array([200, 90, 30]), np.array([90, 60, 50])
    assert chi_squared(reference, window) == pytest.approx(
        stats.chi2_contingency([reference, window], correction=False).pvalue
    )
    assert chi_squared(np.array([300]), np.array([200])) == 1.0  # one class cannot drift


def test_fisher_asks_only_for_more_outliers() -> None:
    table = [[20, 180], [10, 990]]
    assert fisher_greater(10, 1000, 20, 200) == pytest.approx(stats.fisher_exact(table, "greater").pvalue)
    assert fisher_greater(100, 1000, 2, 200) > 0.9


def test_small_classes_share_a_bin_in_which_enough_is_expected() -> None:
    random = np.random.default_rng(2)
    for classes in (2, 30, 1000):
        reference, window = (random.multinomial(size, np.full(classes, 1 / classes)) for size in (2000, 500))
        places = bins(reference, window)
        expected = np.bincount(places, reference + window) * 500 / 2500
        assert (expected >= MIN_EXPECTED).all()
        assert (np.diff(places) >= 0).all()
    assert len(np.unique(places)) > 50  # a thousand classes are not lumped together


def test_total_variation_is_the_share_that_changed() -> None:
    assert total_variation(np.array([50, 50]), np.array([8, 2])) == pytest.approx(0.3)
