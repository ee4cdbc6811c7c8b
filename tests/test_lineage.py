"""Every answer can be traced: to its model, to the data version it learned from, and to who labelled that."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from components.data.tables import LABELS, read_table, write_table
from components.registry import tracking
from components.registry.bundle import make_bundle, open_bundle
from components.registry.lineage import UnknownRequest, explain, find_output
from components.settings import Settings, load_settings
from components.state import ledger
from components.state.database import open_predictions, open_state
from components.state.feedback import give
from components.state.predictions import Logged, record
from components.workspace import Workspace
from tests.brightness import NOON, images_are_split, stages_have_run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One promoted model, and one request that it answered: a test image and an unknown one."""
    workspace = images_are_split(tmp_path_factory.mktemp("lineage"))
    settings = load_settings(workspace)
    stages_have_run(workspace, threshold=0.6)
    write_lock(workspace)
    bundle = make_bundle(workspace, pa.table({"image_id": pa.array([], pa.string())}))
    run_id = tracking.start_run(settings, "training", {}, {})
    state = open_state(settings.database_url)
    ledger.record_model(state, 1, bundle.digest, run_id, "0123456789ab", {"top1": 0.9}, {}, NOON)
    verdict = {"decision": "promote", "reasons": ["There is no champion yet."]}
    ledger.promote(state, 1, bundle.digest, ledger.NOBODY, "olga", verdict, NOON)
    known = read_table(workspace.labels, LABELS)["image_id"][0].as_py()
    record(
        open_predictions(settings.predictions_url),
        [answer(bundle.digest, 0, known), answer(bundle.digest, 1, "f" * 64)],
    )
    give(state, "r1", 1, "dark", "otto", "feedback", NOON)
    return workspace


@pytest.fixture
def settings(workspace: Workspace) -> Settings:
    return load_settings(workspace)


def write_lock(workspace: Workspace) -> None:
    """dvc.lock as DVC writes it, for the two tables that are looked for."""
    deps = [
        {"path": f"data/{path.name}", "hash": "md5", "md5": md5_of(path)}
        for path in (workspace.labels, workspace.splits)
    ]
    YAML().dump({"schema": "2.0", "stages": {"train": {"cmd": "", "deps": deps}}}, workspace.root / "dvc.lock")


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def answer(digest: str, item: int, image_id: str) -> Logged:
    return Logged(
        request_id="r1",
        item=item,
        image_id=image_id,
        name="lamp.jpg" if item else None,
        model_version=1,
        engine_digest=digest,
        label="light",
        confidence=0.97,
        margin=0.94,
        probabilities={"dark": 0.03, "light": 0.97},
        format="JPEG",
        statistics={},
        at=NOON,
    )


def test_an_answer_is_traced_to_its_model_its_data_and_its_labels(workspace: Workspace, settings: Settings):
    lines = explain(workspace, settings, "r1")
    model = ledger.model(open_state(settings.database_url), 1)
    assert model is not None
    assert lines[0] == "Request r1, 2026-11-22 12:00:00 UTC"
    assert lines[1].startswith("Image 0: light 0.970, margin 0.940, nobody has labelled it; .visionloop/images/")
    assert lines[2].startswith("Image 1 (lamp.jpg): light 0.970, margin 0.940, a person says dark; ")
    assert lines[3:6] == [
        f"Model v1, bundle {model.digest[:12]}",
        "  promote by olga, 2026-11-22 12:00 UTC",
        "  There is no champion yet.",
    ]
    assert lines[6].startswith("  MLflow run: http://127.0.0.1:5000/#/experiments/")
    assert lines[7] == "  tiny, 32 px, 2 classes; openvino fp32"
    assert lines[8].startswith("Data version 0123456789ab; `dvc pull`")
    assert lines[10:12] == ["  200 test, 4 train, 40 val", "  244 labels by the source (human)"]
    assert lines[12].startswith("  Image 0 is part of it, in ")
    assert len(lines) == 13, "image 1 is unknown to the dataset"


def test_an_unknown_request_is_said_to_be_unknown(workspace: Workspace, settings: Settings):
    with pytest.raises(UnknownRequest, match="No request 'r2' is in the prediction log"):
        explain(workspace, settings, "r2")


def test_the_tables_of_an_older_version_are_found_by_their_digest(
    workspace: Workspace, settings: Settings, tmp_path: Path
):
    moved = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "workspace")))
    model = ledger.model(open_state(settings.database_url), 1)
    assert model is not None
    bundle = open_bundle(moved.models, model.digest)
    md5 = md5_of(moved.labels)
    assert find_output(moved, settings, bundle, "data/labels.parquet") == moved.labels
    old = moved.labels.read_bytes()
    write_table(read_table(moved.labels, LABELS).slice(1), moved.labels)
    assert find_output(moved, settings, bundle, "data/labels.parquet") is None
    for store in (tmp_path / "remote", moved.root / ".dvc" / "cache"):
        stored = store / "files" / "md5" / md5[:2] / md5[2:]
        stored.parent.mkdir(parents=True)
        stored.write_bytes(old)
        elsewhere = settings.model_copy(update={"remote": str(tmp_path / "remote")})
        assert find_output(moved, elsewhere, bundle, "data/labels.parquet") == stored


def test_a_model_whose_files_are_damaged_is_still_named(workspace: Workspace, settings: Settings, tmp_path: Path):
    moved = Workspace(Path(shutil.copytree(workspace.root, tmp_path / "workspace")))
    shutil.rmtree(moved.models)
    lines = explain(moved, settings, "r1")
    assert "  promote by olga, 2026-11-22 12:00 UTC" in lines
    assert lines[-1].startswith("  No model ")
