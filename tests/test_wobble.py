"""What good windows stay under is learnt from few of them, without blindness and without trust in luck."""

from __future__ import annotations

import numpy as np
import pytest

from components.monitoring.wobble import natural_limits

NUMBERS = 10


def limits(
    effects: np.ndarray, now: np.ndarray | None = None, multiple: float = 3.0, pooled: bool = True
) -> np.ndarray:
    signals = effects.shape[1]
    still = np.zeros(signals)
    return natural_limits(
        effects, still if now is None else now, np.ones(signals), still, np.full(signals, pooled), multiple
    )


def wobbling(sd: float | np.ndarray, windows: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(windows, NUMBERS)) * sd


def test_alike_signals_act_as_one_estimate() -> None:
    found = np.array([limits(wobbling(0.1, seed=seed)) for seed in range(200)])
    assert found.mean() == pytest.approx(0.3, rel=0.05)
    assert found.std() < 0.04  # of one signal by itself: 0.07


def test_a_signal_by_itself_gets_the_wider_limit_of_ten_windows() -> None:
    found = np.array([limits(wobbling(0.1, seed=seed), pooled=False) for seed in range(200)])
    assert found.mean() == pytest.approx(0.1 * 3.96, rel=0.05)  # t quantile of 10 degrees of freedom at 3 sd


def test_a_calm_signal_keeps_a_low_limit_beside_restless_ones() -> None:
    sd = np.where(np.arange(NUMBERS) < 5, 0.02, 0.3)
    found = limits(wobbling(sd))
    assert found[:5].max() < 0.2 < 0.7 < found[5:].min()


@pytest.mark.parametrize("pooled", [True, False])
def test_good_windows_exceed_their_limit_as_rarely_as_the_multiple_says(pooled: bool) -> None:
    exceeded = []
    for seed in range(1500):
        windows = wobbling(0.1, windows=11, seed=seed)
        exceeded.append(np.abs(windows[10]) > limits(windows[:10], multiple=2.0, pooled=pooled))
    assert np.mean(exceeded) == pytest.approx(0.0455, abs=0.006)  # two sd of a normal deviate


def test_signals_that_move_together_need_to_move_less() -> None:
    good = wobbling(0.1)
    one, all_ = np.zeros(NUMBERS), np.full(NUMBERS, 0.25)
    one[0] = 0.25
    assert limits(good, one) == pytest.approx(limits(good))
    assert limits(good, all_) == pytest.approx(limits(good) * 2 / 3)


def test_signals_that_always_move_together_may_go_on_doing_so() -> None:
    random = np.random.default_rng(0)
    good = random.normal(size=(10, 1)) * 0.1 + random.normal(size=(10, NUMBERS)) * 0.02
    assert limits(good, np.full(NUMBERS, 0.2)) == pytest.approx(limits(good))


def test_a_signal_that_never_moved_has_no_natural_limit() -> None:
    good = wobbling(0.1)
    good[:, 3] = 0
    assert limits(good)[3] == 0
    assert (limits(np.zeros((10, NUMBERS))) == 0).all()


def test_sampling_noise_that_is_known_is_not_estimated_again() -> None:
    one, noise = np.ones(1), np.array([0.05**2])
    lucky = natural_limits(np.full((10, 1), 0.001), np.zeros(1), one, noise, one < 0, 3.0)
    assert lucky == pytest.approx(3 * 0.05)  # ten windows that hardly moved do not make it smaller
