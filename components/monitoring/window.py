"""Prediction log and bundle -> signals: what is watched, of the reference images and of one window of predictions.

In: a bundle's reference.parquet (the champion's own answers to validation and test images) and rows of the log. Out:
`Signals`, the same columns from both. Windows are counted in predictions, never in hours, and follow each other without
gap or overlap in the order of the log (which is the order of its commits as long as one service writes it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Engine

from components.data.tables import STATISTICS
from components.params import MonitorParams
from components.registry.reference import REFERENCE
from components.state.predictions import Logged, since

OUTPUTS = ("confidence", "margin")
NUMERIC = (*OUTPUTS, *STATISTICS)
CATEGORICAL = ("predicted_class", "format")
SIGNALS = ("predicted_class", *NUMERIC, "format", "outlier_rate")  # of every task; some have more

LEAST = 200  # predictions; a smaller window says nothing


class WindowError(ValueError):
    """A bundle's reference cannot be compared with; the message says what is missing."""


@dataclass(frozen=True)
class Signals:
    """Columns of equal length: `numeric` (n,) of float64, which may hold NaN, and `categorical` (n,) of str."""

    numeric: Mapping[str, NDArray[np.float64]]
    categorical: Mapping[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.categorical["predicted_class"])

    @property
    def names(self) -> tuple[str, ...]:
        """All signals, in the order in which they are shown."""
        return ("predicted_class", *self.numeric, "format", "outlier_rate")


@dataclass(frozen=True)
class Window:
    """Consecutive predictions of one model."""

    rows: Sequence[Logged]
    signals: Signals

    @property
    def first(self) -> int:
        return self.rows[0].id

    @property
    def last(self) -> int:
        return self.rows[-1].id


def window_size(n_reference: int, params: MonitorParams) -> int:
    """Predictions in a window: `params.window`, or half the reference when that is smaller, and never under 200."""
    return max(LEAST, min(params.window, n_reference // 2))


def read_reference(bundle: Path) -> Signals:
    """The signals of the bundle's reference images; raise WindowError when the table lacks a column."""
    import pyarrow.parquet as pq

    table = pq.read_table(bundle / "reference.parquet")
    missing = {"label", "format", *NUMERIC} - set(table.column_names)
    if missing:
        raise WindowError(f"{bundle}/reference.parquet lacks {', '.join(sorted(missing))}. Train and promote again.")
    return Signals(
        {name: _as_stored(table[name].to_numpy()) for name in (*NUMERIC, *_own(table))},
        {"predicted_class": _words(table["label"].to_pylist()), "format": _words(table["format"].to_pylist())},
    )


def read_window(log: Engine, version: int, after: int, size: int, names: Iterable[str] = NUMERIC) -> Window | None:
    """The `size` predictions of model `version` that follow row `after` of the log; None while there are fewer."""
    rows = since(log, version, after, size)
    return Window(rows, signals_of(rows, names)) if len(rows) == size else None


def signals_of(rows: Sequence[Logged], names: Iterable[str] = NUMERIC) -> Signals:
    """The signals of `rows`, the numeric ones under `names`."""
    outputs = {"confidence": [row.confidence for row in rows], "margin": [row.margin for row in rows]}
    statistics = {name: [row.statistics.get(name, np.nan) for row in rows] for name in names if name not in outputs}
    return Signals(
        {name: _as_stored(values) for name, values in (outputs | statistics).items()},
        {"predicted_class": _words([row.label for row in rows]), "format": _words([row.format for row in rows])},
    )


def _own(table: pa.Table) -> list[str]:
    """The signals that only this model's task has."""
    return [name for name in table.column_names if name not in REFERENCE.names]


def _as_stored(values: Sequence[float] | NDArray[np.generic]) -> NDArray[np.float64]:
    """Rounded to the float32 of the manifest: 4/3 from one side must equal 4/3 from the other, or ties are no ties."""
    return np.asarray(values).astype(np.float32).astype(np.float64)


def _words(values: Sequence[str | None]) -> NDArray[np.str_]:
    return np.array(["" if value is None else value for value in values], dtype=np.str_)
