"""Whether the champion is still as good as promised: labels from production, its own past answers, and the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from components.data.dataset import ImageSet
from components.engine import Engine, EngineError
from components.monitoring.accuracy import MOST, labelled_accuracy, rescored, volume
from components.params import Params
from components.state.feedback import Labelled
from components.state.predictions import Logged
from components.tasks import task_named

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLASSES = ("cat", "dog", "owl")


def answers(right: int, wrong: int) -> list[Labelled]:
    cat = Logged("r", 0, "i", None, 1, "d", "cat", 0.9, 0.8, {"cat": 0.9}, "PNG", {}, NOW)
    return [Labelled(cat, "cat")] * right + [Labelled(cat, "dog")] * wrong


def test_an_accuracy_that_fell_beyond_its_interval_is_an_alert(params: Params):
    found = labelled_accuracy(answers(150, 50), 0.97, params.monitor)
    assert (found.right, found.n, found.accuracy, found.verdict) == (150, 200, 0.75, "alert")
    assert "production accuracy fell by more than" in found.words


def test_its_interval_is_wilsons(params: Params):
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263."""
    found = labelled_accuracy(answers(81, 182), 0.3, params.monitor)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_a_fall_that_few_labels_cannot_prove_is_none(params: Params):
    least = params.monitor.min_labelled
    limit = 1 - params.monitor.max_accuracy_drop
    wrong = math.ceil(least * params.monitor.max_accuracy_drop) + 1
    found = labelled_accuracy(answers(least - wrong, wrong), 1.0, params.monitor)
    assert found.accuracy < limit < found.high
    assert found.verdict == "ok"


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_labels_say_nothing_even_when_all_are_wrong(params: Params, n: int):
    found = labelled_accuracy(answers(0, n), 1.0, params.monitor)
    assert found.verdict == "insufficient"
    assert str(params.monitor.min_labelled) in found.words


@dataclass
class Sees:
    """An engine that answers with the class whose number is the image's first pixel."""

    side: int = 2

    def run(self, images: np.ndarray) -> np.ndarray:
        if images.shape[-1] != self.side:
            raise EngineError("other size")
        return np.eye(len(CLASSES), dtype=np.float32)[images[:, 0, 0, 0]]


def champion(now: list[int], before: list[str], truth: list[str], engine: Any = None):
    """Re-score images that are answered `now` (numbers of classes) and were answered `before`."""
    ids = [f"{row:08}" for row in range(len(now))]
    pixels = np.zeros((len(now), 3, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = now
    scores = [float(was == right) for was, right in zip(before, truth, strict=True)]
    reference = pa.table({"image_id": ids, "truth": truth, "label": before, "score": scores})
    order = range(len(now))[::-1]  # the images of the workspace lie in another order
    n = len(now)
    images = ImageSet([ids[row] for row in order], ["relabelled"] * n, ["val"] * n, pixels[::-1], [(8, 8)] * n)
    return rescored(cast(Engine, engine or Sees()), images, reference, task_named("classification"), CLASSES)


def test_a_champion_that_answers_as_it_did_is_well():
    found = champion([0, 1, 2, 2], ["cat", "dog", "owl", "owl"], ["cat", "dog", "owl", "dog"])
    assert (found.agreement, found.n, found.accuracy, found.accuracy_before, found.verdict) == (1, 4, 0.75, 0.75, "ok")


def test_a_champion_that_disagrees_with_its_past_is_an_alert_though_as_often_right():
    found = champion([1] * 2 + [0] * 98, ["owl"] * 2 + ["cat"] * 98, ["cat"] * 100)
    assert (found.agreement, found.accuracy, found.accuracy_before) == (0.98, 0.98, 0.98)
    assert found.verdict == "alert"
    assert "driver or the machine changed" in found.words


def test_one_tie_that_falls_the_other_way_is_no_alert():
    assert champion([1] + [0] * 199, ["cat"] * 200, ["cat"] * 200).verdict == "ok"


def test_answers_that_all_change_for_the_worse_are_an_alert_within_the_agreement():
    found = champion([1] * 5 + [0] * 795, ["cat"] * 800, ["cat"] * 800)
    assert found.agreement > 0.99
    assert found.verdict == "alert"


def test_many_images_are_thinned_evenly():
    found = champion([0] * (2 * MOST + 1), ["cat"] * (2 * MOST + 1), ["cat"] * (2 * MOST + 1))
    assert MOST / 2 < found.n <= MOST


def test_no_known_image_at_hand_says_so():
    found = champion([], [], [])
    assert (found.n, found.verdict) == (0, "insufficient")


def test_images_of_another_size_are_the_engines_error_to_tell():
    with pytest.raises(EngineError):
        champion([0], ["cat"], ["cat"], Sees(side=4))


def test_silence_after_requests_is_an_alert(params: Params):
    limit = timedelta(hours=params.monitor.quiet_hours_without_requests)
    assert volume(NOW - limit, 1200, NOW, params.monitor).verdict == "alert"
    assert volume(NOW - limit * 0.9, 1200, NOW, params.monitor).verdict == "ok"
    assert "1,200 requests" in volume(NOW - limit, 1200, NOW, params.monitor).words


def test_a_model_that_nobody_ever_asked_is_not_missed(params: Params):
    assert volume(None, 0, NOW, params.monitor).verdict == "insufficient"


def test_a_clock_that_was_set_back_raises_nothing(params: Params):
    found = volume(NOW + timedelta(hours=1), 5, NOW, params.monitor)
    assert (found.quiet_hours, found.verdict) == (0, "ok")
