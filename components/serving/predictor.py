"""A bundle that answers: images in, predictions out; the same for the service and for batch scoring.

In: a verified bundle and its version. Out: predictions. Which bundle is the champion's, and when it changes, is
`components.serving.champion`. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.data.images import fit_square
from components.registry.bundle import Bundle, open_bundle
from components.state.ledger import champion
from components.tasks import Prediction, Task, task_named

if TYPE_CHECKING:
    import sqlalchemy

    from components.engine import Engine
    from components.model.card import ModelCard

NO_CHAMPION = "No model has been promoted yet. Train one with `visionloop run`."


class PredictorError(RuntimeError):
    """There is no model to answer with, or it answers nonsense; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """One model version, loaded."""

    version: int
    digest: str  # of the bundle
    card: ModelCard
    engine: Engine
    task: Task
    shape: tuple[int, ...]  # of what the engine answers to one image

    def square(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) -> (3, size, size), as the model's training images were made."""
        return fit_square(rgb, self.card.size, self.card.fit)

    def predict(self, squares: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
        """One prediction for each of `squares`, (3, size, size) each; raise PredictorError for broken outputs."""
        outputs = self.engine.run(np.stack(squares))
        if outputs.shape != (len(squares), *self.shape) or not np.isfinite(outputs).all():
            raise PredictorError(
                f"Model {self.version} gave outputs {outputs.shape} (finite: {np.isfinite(outputs).all()}) for "
                f"{len(squares)} images, expected {self.shape} for each. Roll back: `visionloop rollback`."
            )
        return self.task.decode(outputs, self.card.classes)


def load_predictor(bundle: Bundle, version: int, batches: Sequence[int] = (1,)) -> Predictor:
    """Load the engine of `bundle` and answer blank images once in each size of `batches`, so that it is warm."""
    task = task_named(bundle.card.task, bundle.card.thresholds)
    shape = tuple(bundle.engine_info["logits"][1:])
    predictor = Predictor(version, bundle.digest, bundle.card, bundle.load_engine(), task, shape)
    blank = np.zeros((3, bundle.card.size, bundle.card.size), dtype=np.uint8)
    for batch in batches:
        predictor.predict([blank] * batch)
    return predictor


def load_champion(models: Path, state: sqlalchemy.Engine, batches: Sequence[int] = (1,)) -> Predictor:
    """The predictor of the newest promotion; raise PredictorError before the first one."""
    promotion = champion(state)
    if promotion is None:
        raise PredictorError(NO_CHAMPION)
    return load_predictor(open_bundle(models, promotion.digest), promotion.version, batches)
