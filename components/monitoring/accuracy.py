"""Labels, known images and the clock -> is the champion still as good as promised, and is anybody asking it?

In: labelled predictions; the live engine and the reference images; when the last prediction was made. Out: a verdict of
each of the three, in numbers and in words. Drift of unlabelled traffic is `components.monitoring.drift`'s; raising an
alert is `components.monitoring.alerts`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components.engine import Engine, run_batches
from components.params import MonitorParams
from components.registry.intervals import paired_interval, wilson
from components.state.feedback import Labelled
from components.tasks import Floats, Task

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data.dataset import ImageSet

Outcome = Literal["ok", "alert", "insufficient"]

CONFIDENCE = 0.95
LEAST_AGREEMENT = 0.99  # with the answers at promotion; the same engine on the same machine reaches 1
MOST = 1000  # images to re-score: seconds of work, and a share of 0.99 is known to 0.006


@dataclass(frozen=True)
class AccuracyVerdict:
    """Of `n` labelled predictions `right` were right; `low` and `high` are the ends of Wilson's 95% interval."""

    right: int
    n: int
    accuracy: float  # NaN when n is 0, as in ChampionVerdict
    low: float
    high: float
    verdict: Outcome
    words: str


@dataclass(frozen=True)
class ChampionVerdict:
    """Of `n` known images the share answered as at promotion, and the share answered rightly, now and then."""

    agreement: float
    n: int
    accuracy: float
    accuracy_before: float
    verdict: Outcome
    words: str


@dataclass(frozen=True)
class VolumeVerdict:
    requests: int
    quiet_hours: float  # since the last request; 0 when there was none
    verdict: Outcome
    words: str


def labelled_accuracy(labelled: Sequence[Labelled], champion_accuracy: float, params: MonitorParams) -> AccuracyVerdict:
    """Compare the accuracy of `labelled` with `champion_accuracy`, the accuracy known at promotion.

    An alert needs the whole interval below `champion_accuracy - max_accuracy_drop`. Only of a random sample is this the
    accuracy of all traffic: people correct what is wrong, and are asked about the least certain images.
    """
    n, right = len(labelled), sum(each.right for each in labelled)
    low, high = wilson(right, n, CONFIDENCE)
    accuracy = right / n if n else float("nan")
    found = f"{right} of {n} labelled predictions were right"
    if n < params.min_labelled:
        words = f"{found}; at least {params.min_labelled} labels are needed for a verdict"
        return AccuracyVerdict(right, n, accuracy, low, high, "insufficient", words)
    found += f": {accuracy:.1%}, between {low:.1%} and {high:.1%} with 95% confidence"
    if high < champion_accuracy - params.max_accuracy_drop:
        words = f"production accuracy fell by more than {params.max_accuracy_drop:.1%} below {champion_accuracy:.1%}"
        return AccuracyVerdict(right, n, accuracy, low, high, "alert", f"{words}, beyond the interval: {found}")
    return AccuracyVerdict(right, n, accuracy, low, high, "ok", f"{found}; {champion_accuracy:.1%} at promotion")


def rescored(
    engine: Engine, images: ImageSet, reference: pa.Table, task: Task, classes: Sequence[str]
) -> ChampionVerdict:
    """Run the live engine again on those of `images` that `reference` (reference.parquet) knows, at most MOST of them.

    The same bytes must give the same answers: an engine that disagrees with its own past, or is less often right than
    chance explains, runs on another driver, runtime or machine than the one it was judged on. The truth is the one
    known at promotion, so that labels corrected since change nothing. `classes` are in the order of the card. Raises
    EngineError when the images are not of the engine's size.
    """
    rows, known = _in_both(images.ids, reference["image_id"].to_pylist())
    if not len(rows):
        words = "none of the images that the champion was judged on are at hand"
        return ChampionVerdict(float("nan"), 0, float("nan"), float("nan"), "insufficient", words)
    table = reference.take(known)
    outputs = run_batches(engine, images.pixels[rows])
    answers = np.array([answer.label for answer in task.decode(outputs, classes)])
    scores = task.scores(outputs, task.targets(_with_truth(images, rows, table["truth"].to_pylist()), classes), classes)
    return _judge_champion(answers == np.array(table["label"].to_pylist()), scores, table["score"].to_numpy())


def _with_truth(images: ImageSet, rows: NDArray[np.intp], truth: list[str]) -> ImageSet:
    """The images in `rows`, with the labels that they had at promotion."""
    sizes = [images.sizes[row] for row in rows]
    return replace(images, ids=[images.ids[row] for row in rows], labels=truth, pixels=images.pixels[rows], sizes=sizes)


def volume(last_request: datetime | None, requests: int, now: datetime, params: MonitorParams) -> VolumeVerdict:
    """Alert when `requests` were answered once, and for `quiet_hours_without_requests` none was; times with zones."""
    if last_request is None or not requests:
        return VolumeVerdict(0, 0.0, "insufficient", "nothing was asked of this model yet")
    quiet = max(0.0, (now - last_request).total_seconds() / 3600)
    words = f"the last of {requests:,} requests came {quiet:.1f} hours ago"
    if quiet < params.quiet_hours_without_requests:
        return VolumeVerdict(requests, quiet, "ok", words)
    limit = f"{params.quiet_hours_without_requests:g} hours"
    return VolumeVerdict(requests, quiet, "alert", f"no request for more than {limit}: {words}")


def _in_both(ids: Sequence[str], known: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places in `ids` and in `known` of what both hold, evenly thinned to MOST."""
    place = {image_id: row for row, image_id in enumerate(known)}
    both = [(row, place[image_id]) for row, image_id in enumerate(ids) if image_id in place]
    pairs = np.array(both[:: -(-len(both) // MOST) or 1], dtype=np.intp).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _judge_champion(same: NDArray[np.bool_], scores: Floats, before: Floats) -> ChampionVerdict:
    n, agreement, accuracy, accuracy_before = len(same), *(float(each.mean()) for each in (same, scores, before))
    change = np.sign(np.round(scores - before, 6))
    _, most = paired_interval(int((change > 0).sum()), int((change < 0).sum()), n, CONFIDENCE)
    words = (
        f"of {n} known images the champion answers {agreement:.1%} as at promotion "
        f"and {accuracy:.1%} rightly ({accuracy_before:.1%} then)"
    )
    if agreement >= LEAST_AGREEMENT and most >= 0:
        return ChampionVerdict(agreement, n, accuracy, accuracy_before, "ok", words)
    words = f"the engine, its driver or the machine changed: {words}"
    return ChampionVerdict(agreement, n, accuracy, accuracy_before, "alert", words)
