"""`visionloop synthesize` and its proof as a user runs them: real DVC and MLflow, small pictures."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from components.data.tables import LABELS, read_table
from components.synthesis import SynthesisError
from components.synthesis.keeping import made_images
from components.workspace import Workspace, WorkspaceError
from flows.ingesting import ingest_source
from flows.synthesizing import prove_batch, synthesize_batch
from tests.conftest import ReportInMemory, change_params
from tests.cutting import write_cutouts
from tests.drawing import draw_folder


@pytest.mark.slow
def test_a_batch_is_added_proven_and_withdrawn_where_nothing_shows_that_it_helps(
    workspace: Workspace, report: ReportInMemory, tmp_path: Path
) -> None:
    change_params(workspace, synthesize={"images": 12, "ratios": [0.25], "seeds": 2}, train={"epochs": 1})
    ingest_source(workspace, draw_folder(tmp_path / "photos", per_class=12), report)
    with pytest.raises(SynthesisError, match="Nothing can be cut out"):
        synthesize_batch(workspace, None, None, report)
    lines = synthesize_batch(workspace, write_cutouts(tmp_path / "cutouts"), None, report)
    assert lines[0].startswith("12 made images are in the dataset, for training alone (12 added")
    change_params(workspace, synthesize={"images": 10, "seed": 8})
    again = synthesize_batch(workspace, tmp_path / "cutouts", None, report)
    assert again[0].startswith("10 made images")
    assert again[0].endswith("12 of an earlier batch were withdrawn.")
    assert (len(made_images(workspace.labels)), read_table(workspace.labels, LABELS).num_rows) == (10, 58)
    told = prove_batch(workspace, report)
    assert "no evidence" in told[1]
    assert told[2] == "0 made images stay, 10 were withdrawn."
    assert read_table(workspace.labels, LABELS).num_rows == 48
    with sqlite3.connect(workspace.state / "mlflow.db") as database:
        runs = dict(database.execute("SELECT name, status FROM runs").fetchall())
        parents = database.execute("SELECT count(*) FROM tags WHERE key = 'mlflow.parentRunId'").fetchone()
    assert set(runs.values()) == {"FINISHED"}
    assert (len(runs), parents) == (5, (4,))
    assert len(list((workspace.state / "mlflow-artifacts").rglob("synthetic.png"))) == 1
    assert len(list((workspace.state / "mlflow-artifacts").rglob("synthetic_per_class.json"))) == 1


def test_without_images_nothing_is_made_or_proven(workspace: Workspace, report: ReportInMemory) -> None:
    for call in (lambda: synthesize_batch(workspace, None, None, report), lambda: prove_batch(workspace, report)):
        with pytest.raises(WorkspaceError, match="has no images yet"):
            call()
