"""Do two runtimes or precisions of one model say the same? Logits in, numbers and a refusal in words out.

Outputs that are all alike would agree with anything, so they are refused first. One image more or less proves
nothing: no limit is so strict that a single image breaks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.engine import Logits
from components.params import RungGate
from components.tasks import Targets, Task, primary_metric


class ParityError(RuntimeError):
    """Two runtimes give different logits for the same images, or logits that say nothing."""


@dataclass(frozen=True)
class Comparison:
    """A model at lower precision beside the reference, on the same images."""

    metric: float  # the task's primary one, of the candidate
    loss: float  # of that metric, against the reference
    agreement: float  # share of images with the same answer
    max_difference: float  # of a logit
    refusal: str  # in words; empty when the candidate passed


def useless(logits: Logits, least: float = 1e-6) -> str | None:
    """Why `logits` (N, ...) can prove nothing: not finite, or the same (to `least`) for every image; else None."""
    if not np.isfinite(logits).all():
        return f"{int((~np.isfinite(logits)).any(axis=1).sum())} of {len(logits)} outputs are not finite"
    spread = float(np.ptp(logits, axis=0 if len(logits) > 1 else 1).max())
    if spread <= least:
        return f"the outputs hardly differ between images (by {spread:.2g} at most)"
    return None


def max_difference(one: Logits, other: Logits, limit: float) -> float:
    """The largest difference of a logit; raise ParityError above `limit`, or when the logits could not show one."""
    if reason := useless(one, least=limit) or useless(other, least=limit):
        raise ParityError(f"Parity cannot be judged: {reason}. Look at the training curves, then train again.")
    difference = float(np.abs(one - other).max())
    if difference > limit:
        raise ParityError(
            f"Logits differ by {difference:.3g}; export.max_difference allows {limit:.3g}. Another `export.opset`, "
            "or another architecture, may export exactly."
        )
    return difference


def compare(
    reference: Logits, candidate: Logits, targets: Targets, classes: Sequence[str], task: Task, gate: RungGate
) -> Comparison:
    """Judge `candidate` against `reference`  as `gate` demands: whole, and class by class."""
    before, after = (primary_metric(task, outputs, targets, classes) for outputs in (reference, candidate))
    agreement = float(task.agreement(reference, candidate, classes).mean())
    refusal = (
        _too_many(1 - agreement, 1 - gate.min_agreement, len(targets), "of images answered differently than fp32")
        or _too_many(before - after, gate.max_loss, len(targets), f"of {task.primary} lost")
        or _class_refusal(reference, candidate, targets, classes, task, gate)
    )
    return Comparison(after, before - after, agreement, float(np.abs(reference - candidate).max()), refusal)


def _class_refusal(
    reference: Logits, candidate: Logits, targets: Targets, classes: Sequence[str], task: Task, gate: RungGate
) -> str:
    before, after = task.per_class(reference, targets, classes), task.per_class(candidate, targets, classes)
    for one, other in zip(before, after, strict=True):
        lost = float(one[task.class_metric]) - float(other[task.class_metric])
        if refusal := _too_many(lost, gate.max_class_loss, int(one["images"]), f"of class {one['class']!r} lost"):
            return refusal
    return ""


def _too_many(share: float, limit: float, images: int, what: str) -> str:
    allowed = max(limit, 1 / max(images, 1))
    return f"{share:.1%} {what}; the gate allows {allowed:.1%}" if share > allowed + 1e-9 else ""
