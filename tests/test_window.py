"""Signals are the same columns from a bundle and from the log; windows follow each other without gap or overlap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.tables import STATISTICS
from components.monitoring.two_sample import kolmogorov_smirnov
from components.monitoring.window import NUMERIC, SIGNALS, WindowError, read_reference, read_window, window_size
from components.params import Params
from components.state.database import open_predictions
from components.state.predictions import record
from tests.test_predictions import ROW

THIRD = dict.fromkeys(STATISTICS, 1 / 3)


def write_reference(folder: Path, rows: int = 3, **columns: object) -> None:
    numbers = {name: pa.array([1 / 3] * rows, pa.float32()) for name in NUMERIC}
    words = {"label": ["cat"] * rows, "format": ["PNG"] * rows}
    pq.write_table(pa.table(words | numbers | columns), folder / "reference.parquet")


@pytest.mark.parametrize(("reference", "size"), [(2000, 500), (1000, 500), (600, 300), (450, 225), (100, 200)])
def test_a_window_is_half_a_small_reference_and_never_under_200(params: Params, reference: int, size: int) -> None:
    assert window_size(reference, params.monitor) == size


def test_windows_follow_each_other_and_other_models_do_not_count(tmp_path: Path) -> None:
    log = open_predictions(f"sqlite:///{tmp_path / 'predictions.db'}")
    record(log, [replace(ROW, request_id=f"r{i}", model_version=1 + i % 2) for i in range(500)])
    first = read_window(log, 1, 0, 100)
    assert first is not None
    second = read_window(log, 1, first.last, 100)
    assert second is not None
    assert (first.first, first.last, second.first, second.last) == (1, 199, 201, 399)
    assert len(second.signals) == 100
    assert read_window(log, 1, second.last, 100) is None  # 50 wait


def test_the_13_signals_are_columns_but_for_the_outlier_rate() -> None:
    assert len(SIGNALS) == len(set(SIGNALS)) == 13
    assert set(SIGNALS) - set(NUMERIC) == {"predicted_class", "format", "outlier_rate"}


def test_a_third_from_the_manifest_is_a_third_from_the_log(tmp_path: Path) -> None:
    write_reference(tmp_path, rows=60)
    log = open_predictions(f"sqlite:///{tmp_path / 'predictions.db'}")
    record(log, [replace(ROW, request_id=f"r{i}", statistics=THIRD) for i in range(200)])
    window = read_window(log, 1, 0, 200)
    assert window is not None
    reference = read_reference(tmp_path)
    for name in STATISTICS:
        statistic, _ = kolmogorov_smirnov(reference.numeric[name], window.signals.numeric[name][None])
        assert statistic[0] == 0


def test_a_reference_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    write_reference(tmp_path)
    table = pq.read_table(tmp_path / "reference.parquet")
    pq.write_table(table.drop_columns(["sharpness"]), tmp_path / "reference.parquet")
    with pytest.raises(WindowError, match="sharpness"):
        read_reference(tmp_path)
