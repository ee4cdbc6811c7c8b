"""An operator reads what changed, by how much, and in how many images."""

from __future__ import annotations

import numpy as np
import pytest

from components.monitoring.window import CATEGORICAL, NUMERIC, Signals
from components.monitoring.words import WORDS, in_words, outliers_in_words


def signals(values: list[float], labels: list[str] | None = None) -> Signals:
    words = np.array(labels or ["cat"] * len(values))
    return Signals({name: np.array(values) for name in NUMERIC}, dict.fromkeys(CATEGORICAL, words))


KNOWN = signals([0.4, 0.5, 0.5, 0.6])


def test_a_number_that_fell() -> None:
    told = in_words("brightness", KNOWN, signals([0.3, 0.3, 0.3, 0.5]))
    assert told == "brightness fell by 30%, 2.1 sd; 75% of images are darker than the reference median"


def test_a_number_that_rose() -> None:
    told = in_words("bytes_per_pixel", KNOWN, signals([1.0, 1.0]))
    assert told == "bytes per pixel rose by 100%, 7.1 sd; 100% of images are less compressed than the reference median"


def test_a_number_that_never_varied_has_no_standard_deviation() -> None:
    told = in_words("aspect_ratio", signals([1.0, 1.0]), signals([1.5, 1.5]))
    assert told.startswith("aspect ratio rose by 50%, where it never varied before;")
    assert in_words("saturation", signals([0.0, 0.0]), signals([0.2])).startswith("saturation rose by 0.2, ")


def test_a_number_that_only_spread_is_not_said_to_rise() -> None:
    assert in_words("contrast", KNOWN, signals([0.1, 0.9])) == "contrast varies 466% more around the same mean"


def test_no_values_are_said_to_be_none() -> None:
    assert in_words("entropy", KNOWN, signals([np.nan])) == "entropy has no values to compare"


def test_classes_that_moved_most_come_first() -> None:
    before = signals([0.0] * 10, ["cat"] * 5 + ["dog"] * 5)
    after = signals([0.0] * 10, ["cat"] * 5 + ["dog"] * 1 + ["<b>"] * 4)
    told = in_words("predicted_class", before, after)
    assert told == "predicted class: “<b>” rose from 0% to 40%, “dog” fell from 50% to 10%"
    assert in_words("format", before, before) == "format: no change"


def test_the_outlier_rate() -> None:
    assert outliers_in_words(0.016, 0.064).startswith("outlier rate rose from 1.6% to 6.4% of images")


@pytest.mark.parametrize("name", NUMERIC)
def test_every_number_has_words_for_both_directions(name: str) -> None:
    lower, higher = WORDS[name]
    assert lower != higher
