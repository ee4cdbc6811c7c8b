"""Simulated streams count what they claim to count; the promises themselves are kept by `visionloop bench`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.launcher.local import LocalLauncher
from components.monitoring.simulate import Rate, drift_rates
from components.params import load_params
from components.workspace import TEMPLATE

MONITOR = load_params(TEMPLATE / "params.yaml").monitor


@pytest.fixture(scope="module")
def few() -> dict[tuple[str, str], Rate]:
    rates = drift_rates(MONITOR, LocalLauncher(1), streams=40)
    return {(rate.world, rate.what): rate for rate in rates}


def test_calm_streams_are_quiet_and_drift_is_seen(few: dict[tuple[str, str], Rate]) -> None:
    for (_, what), rate in few.items():
        if rate.promised is not None:
            assert rate.rate <= 0.1 if what.startswith("false") else rate.rate >= 0.75


def test_without_the_floors_learnt_from_windows_wobble_alarms() -> None:
    deaf = replace(MONITOR, wobble_multiple=0.01)
    rates = {(rate.world, rate.what): rate for rate in drift_rates(deaf, LocalLauncher(1), streams=20)}
    assert rates["wobbling", "false alarm, one window"].rate > 0.5
    assert rates["calm", "false alarm, one window"].rate <= 0.1


def test_the_same_seed_gives_the_same_rates() -> None:
    once, again = (drift_rates(MONITOR, LocalLauncher(1), streams=3, seed=5) for _ in range(2))
    assert once == again


def test_a_promise_is_kept_by_the_bound_not_by_the_rate() -> None:
    assert not Rate("calm", "false alarm, one window", 1, 100, 0.02).kept  # 1%, but perhaps 4.7%
    assert Rate("calm", "false alarm, one window", 10, 1000, 0.02).kept
    assert not Rate("calm", "seen, blur", 91, 100, 0.9).kept
    assert Rate("calm", "seen, blur", 950, 1000, 0.9).kept
    assert Rate("calm", "seen, blur", 0, 100, None).kept
    assert "at most 4.66%" in str(Rate("calm", "false alarm, one window", 1, 100, 0.02))


@pytest.mark.slow
def test_every_promise_is_kept() -> None:
    broken = [str(rate) for rate in drift_rates(MONITOR, LocalLauncher(2), streams=2000) if not rate.kept]
    assert broken == []
