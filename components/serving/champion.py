"""The predictor that serves now, and its exchange for a newer one without a failed request.

In: the ledger, looked at again and again. Out: `current`. A new champion is verified, loaded and warmed up beside the
old one, which serves until then; requests under way keep the predictor they began with. A promoted model that cannot
be loaded is refused once, loudly, and not tried again: the next row of the ledger (a promotion or a rollback) is.
"""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy

from components.registry.bundle import open_bundle
from components.serving.metrics import Metrics
from components.serving.predictor import NO_CHAMPION, Predictor, load_predictor
from components.state import ledger

logger = logging.getLogger(__name__)


class Champion:
    """`current` is None until a first model is loaded; `trouble` then says why."""

    def __init__(self, state: sqlalchemy.Engine, models: Path, max_batch: int, metrics: Metrics) -> None:
        self.current: Predictor | None = None
        self.trouble = NO_CHAMPION
        self._state = state
        self._models = models
        self._batches = sorted({1, max_batch})
        self._metrics = metrics
        self._readable = True
        self._seen = ledger.NOBODY  # newest row of the ledger that was followed or refused

    def follow(self) -> None:
        """Look at the ledger and load what it names. Blocks: call it in a thread, never twice at once."""
        try:
            promotion = ledger.champion(self._state)
        except Exception as error:  # of a database there are many kinds; to stop looking would be worse than any
            if self._readable:
                logger.warning("The ledger cannot be read, the model stays as it is: %s", error)
            self._readable = False
            return
        self._readable = True
        if promotion is None or promotion.id == self._seen:
            return
        self._seen = promotion.id
        if self.current is None or (self.current.version, self.current.digest) != (promotion.version, promotion.digest):
            self._exchange(promotion)

    def _exchange(self, promotion: ledger.Promotion) -> None:
        try:
            bundle = open_bundle(self._models, promotion.digest)
            loaded = load_predictor(bundle, promotion.version, self._batches)
        except Exception as error:  # whatever is wrong with it, the old model serves on
            self._metrics.swap_failures.inc()
            self.trouble = (
                f"Model {promotion.version} was promoted but cannot be loaded. Roll back: `visionloop rollback`."
            )
            logger.error("Model %s (%s) is refused: %s", promotion.version, promotion.digest[:12], error)
            return
        self.current = loaded
        self._show(loaded)
        logger.info("Model %s (%s) serves on %s", loaded.version, loaded.digest[:12], loaded.engine.target)

    def _show(self, loaded: Predictor) -> None:
        self._metrics.model.clear()
        labels = (str(loaded.version), loaded.digest, loaded.engine.target, loaded.engine.precision)
        self._metrics.model.labels(*labels).set(1)
