"""Alerts and labels -> should a model be trained now, and why or why not: the policy, pure.

In: what is open, how many new labels there are, when a retraining last began. Out: a decision with its reason in words.
Retraining helps only against what training can mend (`retrain.signals`), and only with labels of the new world: a
camera that went dark alone asks for a look at the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.params import RetrainParams
from components.state.alerts import Alert


@dataclass(frozen=True)
class RetrainDecision:
    train: bool
    reason: str
    ask_for_labels: bool = False


def should_retrain(
    alerts: Sequence[Alert], new_labels: int, last_retraining: datetime | None, params: RetrainParams, now: datetime
) -> RetrainDecision:
    """Decide on `alerts` (not resolved) and `new_labels` (labelled images that no dataset version holds yet)."""
    mendable = [alert for alert in alerts if mends(alert, params)]
    enough = new_labels >= params.min_new_labels
    labels = f"{new_labels} new labels (retrain.min_new_labels is {params.min_new_labels})"
    if alerts and not mendable:
        seen = ", ".join(sorted({signal for alert in alerts for signal in alert.signals}))
        return RetrainDecision(False, f"Training cannot mend what was noticed ({seen}): look at the camera.")
    if not mendable:
        return RetrainDecision(enough, f"{'Training on' if enough else 'Nothing to learn yet:'} {labels}.")
    cause = f"{mendable[-1].kind} alert {mendable[-1].id} ({', '.join(mendable[-1].signals)})"
    if not enough:
        return RetrainDecision(False, f"No training for {cause}: only {labels}.", ask_for_labels=True)
    if last_retraining and now - last_retraining < timedelta(hours=params.cooldown_hours):
        return RetrainDecision(False, f"No training for {cause}: the last one was under {params.cooldown_hours} h ago.")
    return RetrainDecision(True, f"Training for {cause} on {labels}.")


def mends(alert: Alert, params: RetrainParams) -> bool:
    """Whether training can mend what this alert is about."""
    return bool(set(alert.signals) & set(params.signals))
