"""The drift rule: quiet on good windows, awake to real changes, and sure of nothing it has too little of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.data.tables import STATISTICS
from components.monitoring.drift import Decision, SignalDrift, WindowVerdict, decide, good_windows, judge_window
from components.monitoring.window import SIGNALS, Signals
from components.params import load_params
from components.workspace import TEMPLATE

MONITOR = load_params(TEMPLATE / "params.yaml").monitor
CLASSES = [f"class {number}" for number in range(8)]


def images(seed: int, size: int, shift: dict[str, float] | None = None) -> Signals:
    """Good images, each statistic normal with sd 1 around 10, then moved by `shift` standard deviations."""
    random = np.random.default_rng(seed)
    numeric = {name: random.normal(10 + (shift or {}).get(name, 0.0), 1.0, size) for name in STATISTICS}
    numeric |= {name: random.beta(8, 1, size) for name in ("confidence", "margin")}
    words = {"predicted_class": random.choice(CLASSES, size), "format": random.choice(["JPEG", "PNG"], size)}
    return Signals(numeric, words)


REFERENCE = images(0, 2000)


def changed(signals: Signals, **columns: np.ndarray) -> Signals:
    numeric = {name: columns.get(name, values) for name, values in signals.numeric.items()}
    words = {name: columns.get(name, values) for name, values in signals.categorical.items()}
    return Signals(numeric, words)


def drifted(window: Signals, history: list[dict[str, float]] | None = None) -> list[str]:
    return [each.name for each in judge_window(REFERENCE, window, history or [], MONITOR).drifted]


def test_good_windows_are_quiet() -> None:
    alarms = sum(bool(drifted(images(seed, 500))) for seed in range(1, 101))
    assert alarms <= 4  # alpha promises 1 of 100


def test_every_signal_is_judged_and_told_in_words() -> None:
    verdict = judge_window(REFERENCE, images(1, 500), [], MONITOR)
    assert {each.name for each in verdict.signals} == set(SIGNALS)
    assert all(each.words and 0 <= each.p <= 1 for each in verdict.signals)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_shift_of_any_statistic_is_seen_in_that_one_alone(name: str) -> None:
    verdict = judge_window(REFERENCE, images(1, 500, {name: -0.5}), [], MONITOR)
    assert [each.name for each in verdict.drifted] == [name]
    assert verdict.verdict == "warn"
    assert verdict.drifted[0].effect == pytest.approx(-0.5, abs=0.15)
    assert " fell by " in verdict.drifted[0].words


def test_the_farthest_beyond_its_floor_comes_first() -> None:
    assert drifted(images(1, 500, {"contrast": 0.5, "entropy": -1.0})) == ["entropy", "contrast"]


def test_a_class_that_takes_over_is_seen() -> None:
    window = images(1, 500)
    labels = window.categorical["predicted_class"].copy()
    labels[:100] = CLASSES[0]
    assert drifted(changed(window, predicted_class=labels)) == ["predicted_class"]


def test_a_class_or_format_never_seen_before_is_seen() -> None:
    window = images(1, 500)
    formats = window.categorical["format"].copy().astype("<U8")
    formats[:40] = "GIF"
    assert drifted(changed(window, format=formats)) == ["format"]


def test_a_few_black_images_show_as_outliers() -> None:
    window = images(1, 500)
    black = {name: window.numeric[name].copy() for name in ("brightness", "contrast", "entropy")}
    for values in black.values():
        values[:30] = 0
    verdict = judge_window(REFERENCE, changed(window, **black), [], MONITOR)
    assert "outlier_rate" in [each.name for each in verdict.drifted]
    rate = next(each for each in verdict.signals if each.name == "outlier_rate")
    assert rate.effect == pytest.approx(0.06, abs=0.02)


def test_fewer_outliers_are_no_drift() -> None:
    tame = {name: np.clip(images(1, 500).numeric[name], 8.5, 11.5) for name in STATISTICS}
    assert "outlier_rate" not in drifted(changed(images(1, 500), **tame))


def test_a_shift_below_the_floor_is_no_drift_however_sure() -> None:
    huge, shifted = images(1, 40_000), images(2, 40_000, {"brightness": 0.08})
    verdict = judge_window(huge, shifted, [], MONITOR)
    brightness = next(each for each in verdict.signals if each.name == "brightness")
    assert brightness.p < 1e-6
    assert not brightness.drifted


def effects(seed: int, wobble: float) -> dict[str, float]:
    """Of a good window in a world where every statistic wobbles."""
    random = np.random.default_rng([9, seed])
    window = images(100 + seed, 500, {name: wobble * random.normal() for name in STATISTICS})
    return {each.name: each.effect for each in judge_window(REFERENCE, window, [], MONITOR).signals}


def test_natural_wobble_lifts_the_floor_once_half_the_history_is_known() -> None:
    history = [effects(seed, 0.3) for seed in range(10)]
    wobbled = images(1, 500, {"brightness": 0.5})
    assert drifted(wobbled, history[:4]) == ["brightness"]
    assert drifted(wobbled, history[:5]) == []
    assert "brightness" in drifted(images(1, 500, {"brightness": 3.0}), history)


def test_a_calm_history_leaves_a_shift_in_sight() -> None:
    assert drifted(images(1, 500, {"brightness": -0.39}), [effects(seed, 0.0) for seed in range(10)]) == ["brightness"]


def test_floors_are_learnt_from_the_first_windows_not_the_latest() -> None:
    calm, restless = [effects(seed, 0.0) for seed in range(10)], [effects(seed, 1.0) for seed in range(10)]
    assert drifted(images(1, 500, {"brightness": 0.5}), calm + restless) == ["brightness"]


@pytest.mark.parametrize(("reference", "window"), [(2000, 199), (49, 200)])
def test_too_few_images_are_insufficient(reference: int, window: int) -> None:
    verdict = judge_window(images(1, reference), images(2, window), [], MONITOR)
    assert (verdict.verdict, verdict.signals) == ("insufficient", [])
    assert decide([verdict], MONITOR).verdict == "insufficient"


def test_columns_that_never_vary_or_have_no_values_do_no_harm() -> None:
    constant, nothing = np.full(2000, 1.0), np.full(2000, np.nan)
    reference = changed(REFERENCE, aspect_ratio=constant, entropy=nothing)
    same = changed(images(1, 500), aspect_ratio=constant[:500], entropy=nothing[:500])
    assert judge_window(reference, same, [], MONITOR).verdict == "ok"
    wide = changed(same, aspect_ratio=np.full(500, 1.5))
    verdict = judge_window(reference, wide, [], MONITOR)
    assert verdict.drifted[0].name == "aspect_ratio"
    assert np.isfinite(verdict.drifted[0].effect)


def window_of(*names: str) -> WindowVerdict:
    signals = [SignalDrift(name, 0.0, 1.0, 0.1, name in names, "") for name in ("brightness", "sharpness", "margin")]
    return WindowVerdict("warn" if names else "ok", signals)


B, S, OK = window_of("brightness"), window_of("sharpness"), window_of()


@pytest.mark.parametrize(
    ("recent", "decision"),
    [
        ([OK], Decision("ok", [])),
        ([B], Decision("warn", ["brightness"])),
        ([B, B], Decision("alert", ["brightness"])),
        ([B, OK, B], Decision("alert", ["brightness"])),
        ([B, OK, OK, B], Decision("warn", ["brightness"])),
        ([B, S], Decision("warn", ["sharpness"])),  # not the same signal
        ([B, B, OK], Decision("ok", [])),  # told already, and over
        ([S, window_of("brightness", "sharpness")], Decision("alert", ["sharpness"])),
    ],
)
def test_an_alert_needs_the_same_signal_in_two_of_three(recent: list, decision: Decision) -> None:
    assert decide(recent, MONITOR) == decision


def test_how_many_windows_make_an_alert_is_for_params_to_say() -> None:
    assert decide([B, B], replace(MONITOR, alert_after=3)).verdict == "warn"
    assert decide([B], replace(MONITOR, alert_after=1)).verdict == "alert"


@pytest.mark.parametrize(
    ("verdicts", "good"),
    [
        ([OK, OK], [0, 1]),
        ([OK, B, OK, OK], [0, 1, 2, 3]),  # an excursion that did not last is natural
        ([OK, B], [0]),  # it may last
        ([OK, B, OK], [0, 2]),
        ([B, OK, B, OK, OK], [1, 3, 4]),  # the two that made an alert
        ([B, S, OK, OK], [0, 1, 2, 3]),  # different signals
    ],
)
def test_a_drift_that_lasts_is_never_learnt_as_natural(verdicts: list[WindowVerdict], good: list[int]) -> None:
    assert good_windows(verdicts, MONITOR) == good
