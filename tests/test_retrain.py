"""Retraining starts only where it can help, and says why or why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from components.monitoring.retrain import should_retrain
from components.params import RetrainParams
from components.state.alerts import Alert

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PARAMS = RetrainParams(
    signals=("predicted_class", "confidence"), min_new_labels=50, start="champion", cooldown_hours=12, ask_for=100
)


def alert(*signals: str) -> Alert:
    return Alert(3, "drift", "k", signals, {}, 1, "open", NOW, None, None)


def test_a_drift_that_training_can_mend_trains_when_there_are_labels():
    decision = should_retrain([alert("confidence", "brightness")], 50, None, PARAMS, NOW)
    assert decision.train
    assert "alert 3" in decision.reason


def test_without_new_labels_people_are_asked_for_some():
    decision = should_retrain([alert("confidence")], 49, None, PARAMS, NOW)
    assert not decision.train
    assert decision.ask_for_labels
    assert "49 new labels" in decision.reason


def test_image_statistics_alone_send_people_to_the_camera_and_train_nothing():
    decision = should_retrain([alert("brightness", "sharpness")], 500, None, PARAMS, NOW)
    assert not decision.train
    assert not decision.ask_for_labels
    assert "look at the camera" in decision.reason


def test_two_retrainings_are_a_cool_down_apart():
    recent, old = (NOW - timedelta(hours=hours) for hours in (11, 12))
    assert not should_retrain([alert("confidence")], 50, recent, PARAMS, NOW).train
    assert should_retrain([alert("confidence")], 50, old, PARAMS, NOW).train


def test_the_schedule_trains_on_new_labels_without_any_alert():
    assert should_retrain([], 50, None, PARAMS, NOW).train
    assert not should_retrain([], 49, None, PARAMS, NOW).train
