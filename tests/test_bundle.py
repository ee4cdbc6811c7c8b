"""A bundle: made whole or not at all, opened only when every byte is what its digest promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from components.registry.bundle import Bundle, BundleError, find_bundle, make_bundle, open_bundle
from components.workspace import Workspace

REFERENCE = pa.table({"image_id": ["a", "b"], "confidence": [0.9, 0.8]})


def fill(workspace: Workspace) -> None:
    """Files where the stages would have left them; a bundle asks nothing of their content."""
    for folder in (workspace.model, workspace.evaluation, workspace.export, workspace.engine):
        folder.mkdir(parents=True)
    (workspace.model / "model.safetensors").write_bytes(b"weights")
    (workspace.evaluation / "metrics.json").write_text('{"top1": 0.97}')
    (workspace.export / "model.onnx").write_bytes(b"graph")
    (workspace.export / "model.json").write_text("{}")
    (workspace.engine / "engine.json").write_text('{"target": "openvino", "precision": "int8"}')
    (workspace.engine / "int8.xml").write_bytes(b"engine")
    (workspace.root / "dvc.lock").write_text("schema: '2.0'\n")


@pytest.fixture
def bundle(workspace: Workspace) -> Bundle:
    fill(workspace)
    return make_bundle(workspace, REFERENCE)


def test_a_bundle_holds_what_serving_tracing_and_further_training_need(bundle: Bundle):
    names = {str(path.relative_to(bundle.path)) for path in bundle.path.rglob("*") if path.is_file()}
    assert names == {
        *("model.onnx", "model.json", "model.safetensors", "metrics.json", "reference.parquet", "bundle.json"),
        *("engine/engine.json", "engine/int8.xml", "params.yaml", "dvc.yaml", "dvc.lock"),
    }
    assert bundle.metrics == {"top1": 0.97}
    assert bundle.engine_info["target"] == "openvino"


def test_equal_files_give_the_same_bundle_and_other_files_another(workspace: Workspace, bundle: Bundle):
    assert make_bundle(workspace, REFERENCE) == bundle
    (workspace.model / "model.safetensors").write_bytes(b"other weights")
    assert make_bundle(workspace, REFERENCE).digest != bundle.digest
    assert open_bundle(workspace.models, bundle.digest) == bundle


def test_one_flipped_byte_anywhere_is_refused(bundle: Bundle):
    for path in sorted(path for path in bundle.path.rglob("*") if path.is_file()):
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(BundleError):
            open_bundle(bundle.path.parent, bundle.digest)
        path.write_bytes(good)
    open_bundle(bundle.path.parent, bundle.digest)


def test_a_file_that_is_missing_or_was_added_is_refused_by_name(bundle: Bundle):
    (bundle.path / "extra.py").write_text("")
    (bundle.path / "dvc.lock").unlink()
    with pytest.raises(BundleError, match=r"dvc\.lock, extra\.py"):
        open_bundle(bundle.path.parent, bundle.digest)


def test_a_list_rewritten_to_match_changed_files_is_refused(bundle: Bundle):
    """Whoever changes a file and its line in bundle.json has another digest than the ledger's."""
    sums = json.loads((bundle.path / "bundle.json").read_text())
    (bundle.path / "bundle.json").write_text(json.dumps(sums))
    with pytest.raises(BundleError, match="not the list"):
        open_bundle(bundle.path.parent, bundle.digest)


@pytest.mark.parametrize("digest", ["0" * 64, "", "..", "../../etc"])
def test_an_unknown_digest_is_refused(tmp_path: Path, digest: str):
    with pytest.raises(BundleError, match="No model"):
        open_bundle(tmp_path, digest)


def test_a_damaged_bundle_is_mended_by_making_it_again(workspace: Workspace, bundle: Bundle):
    shutil.rmtree(bundle.path / "engine")
    assert make_bundle(workspace, REFERENCE) == bundle


def test_what_was_bundled_before_is_found_again_without_its_reference(workspace: Workspace, bundle: Bundle):
    assert find_bundle(workspace) == bundle
    (bundle.path / "model.onnx").write_bytes(b"other graph")
    assert find_bundle(workspace) is None, "a damaged bundle is made again"
    make_bundle(workspace, REFERENCE)
    (workspace.root / "dvc.lock").write_text("schema: '2.1'\n")
    assert find_bundle(workspace) is None


def test_what_a_killed_process_left_half_made_is_swept_away(workspace: Workspace):
    fill(workspace)
    (workspace.models / ".0123.77.tmp" / "engine").mkdir(parents=True)
    bundle = make_bundle(workspace, REFERENCE)
    assert list(workspace.models.iterdir()) == [bundle.path]


def test_a_stage_that_has_not_run_is_named(workspace: Workspace):
    fill(workspace)
    (workspace.engine / "engine.json").unlink()
    with pytest.raises(BundleError, match=r"data/engine/engine\.json missing. Run `visionloop run`"):
        make_bundle(workspace, REFERENCE)
    assert not workspace.models.exists()
