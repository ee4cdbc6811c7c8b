"""The way of one image through the service: decoded and stored in a thread, answered and logged in a batch.

In: uploads. Out: predictions, each of which is in the prediction log, and its image in the store, before anybody sees
it. Nothing here knows of HTTP.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import sqlalchemy
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from components.data.annotations import LabelError
from components.data.images import BadImage, to_rgb8
from components.data.scan import statistics
from components.params import IngestParams
from components.serving.metrics import Metrics
from components.serving.predictor import Predictor
from components.state.image_store import ImageStore
from components.state.predictions import Logged, record
from components.tasks import Prediction


class LogError(RuntimeError):
    """The image or the prediction could not be kept, so it must not be answered."""


@dataclass(frozen=True)
class Upload:
    data: bytes
    name: str | None = None  # the client's file name, for people only


@dataclass(frozen=True, eq=False)
class Ready:
    """An image that only waits for its batch."""

    request_id: str
    item: int
    name: str | None
    image_id: str
    format: str
    statistics: dict[str, float]
    size: tuple[int, int]  # width and height of the picture, px
    square: NDArray[np.uint8]
    predictor: Predictor  # the champion when the request came; a swap meanwhile does not matter


@dataclass(frozen=True)
class Answered:
    """A prediction that is in the log, and the image that it is about."""

    prediction: Prediction
    said: str  # the prediction as a label of the image
    size: tuple[int, int]
    fit: Literal["stretch", "crop"]


@dataclass(frozen=True)
class Recognition:
    log: sqlalchemy.Engine
    store: ImageStore
    ingest: IngestParams
    metrics: Metrics

    def prepare(self, upload: Upload, request_id: str, item: int, predictor: Predictor) -> Ready:
        """Decode, measure and store one image; raise BadImage, or LogError when it cannot be stored."""
        decoded = to_rgb8(upload.data, self.ingest)
        measured = statistics(decoded.rgb, len(upload.data))
        square = predictor.square(decoded.rgb)
        try:
            image_id = self.store.put(upload.data)
        except OSError as error:
            self.metrics.log_failures.inc()
            raise LogError(f"The image could not be stored: {error}") from error
        size = decoded.picture.size
        return Ready(request_id, item, upload.name, image_id, decoded.format, measured, size, square, predictor)

    def size_of(self, image_id: str) -> tuple[int, int]:
        """Width and height, px, of a stored image; LabelError when it is no longer there."""
        try:
            return to_rgb8(self.store.path(image_id).read_bytes(), self.ingest).picture.size
        except (OSError, BadImage) as error:
            raise LabelError("no_image", f"the image {image_id[:12]} is no longer stored: {error}") from None

    def answer(self, batch: Sequence[Ready]) -> list[Answered]:
        """Predict a batch and log it in one commit; raise LogError when that fails, and then nothing is logged."""
        predictions: list[Prediction] = []
        for predictor, group in itertools.groupby(batch, key=lambda ready: ready.predictor):
            squares = [ready.square for ready in group]
            self.metrics.batch.observe(len(squares))
            predictions += predictor.predict(squares)
        answers = [_answered(*pair) for pair in zip(batch, predictions, strict=True)]
        now = datetime.now(UTC)
        try:
            record(self.log, [_row(*pair, now) for pair in zip(batch, answers, strict=True)])
        except SQLAlchemyError as error:
            self.metrics.log_failures.inc()
            raise LogError(f"The prediction could not be logged: {error}") from error
        return answers


def _answered(ready: Ready, prediction: Prediction) -> Answered:
    task, fit = ready.predictor.task, ready.predictor.card.fit
    return Answered(prediction, task.answered(prediction, ready.size, fit), ready.size, fit)


def _row(ready: Ready, answered: Answered, now: datetime) -> Logged:
    prediction = answered.prediction
    return Logged(
        request_id=ready.request_id,
        item=ready.item,
        image_id=ready.image_id,
        name=ready.name,
        model_version=ready.predictor.version,
        engine_digest=ready.predictor.digest,
        label=prediction.label,
        answer=answered.said if answered.said != prediction.label else None,
        confidence=prediction.confidence,
        margin=prediction.margin,
        probabilities=prediction.probabilities,
        format=ready.format,
        statistics={**ready.statistics, **prediction.signals},
        at=now,
    )
