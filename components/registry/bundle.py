"""What the stages wrote -> one bundle: all files that a model needs to serve, be traced and be trained further.

In: a workspace whose stages have run, and the drift reference. Out: `.visionloop/models/<digest>/`, written whole or
not at all and never changed. `bundle.json` lists every file with its sha256; the digest is the sha256 of that list, so
a digest from the ledger vouches for every byte. Nothing in a bundle is unpickled: ONNX, engines, safetensors, JSON,
YAML and Parquet.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.tables import file_digest
from components.workspace import Workspace, replace_folder

if TYPE_CHECKING:
    from components.engine import Engine
    from components.model.card import ModelCard

LIST = "bundle.json"
REFERENCE = "reference.parquet"


class BundleError(RuntimeError):
    """A bundle is missing, incomplete or not what its digest promises; it must not serve."""


@dataclass(frozen=True)
class Bundle:
    """A verified folder of model files."""

    path: Path
    digest: str

    @cached_property
    def card(self) -> ModelCard:
        from components.model.card import read_card

        return read_card(self.path / "model.json")

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Of the trained model before it was compiled, on the test images."""
        return dict(_read_json(self.path / "metrics.json"))

    @cached_property
    def engine_info(self) -> dict[str, Any]:
        return _read_json(self.path / "engine" / "engine.json")

    def load_engine(self) -> Engine:
        from components.engine import load_engine

        return load_engine(self.path / "engine")


def make_bundle(workspace: Workspace, reference: pa.Table) -> Bundle:
    """Collect what the stages wrote into `.visionloop/models/<digest>`; the same files give the same bundle.

    Raises BundleError naming the stages to run when a file is missing.
    """
    files = _collect(workspace)
    drift_reference = io.BytesIO()
    pq.write_table(reference, drift_reference, compression="zstd")
    sums = _sums(files)
    sums[REFERENCE] = hashlib.sha256(drift_reference.getvalue()).hexdigest()
    listing = json.dumps(sums, indent=1, sort_keys=True).encode()
    digest = hashlib.sha256(listing).hexdigest()
    if not _is_whole(workspace.models, digest):
        for unfinished in workspace.models.glob(".*.tmp"):  # by a process that was killed: one run at a time
            shutil.rmtree(unfinished)
        with replace_folder(workspace.models / digest) as folder:
            for name, path in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
            (folder / REFERENCE).write_bytes(drift_reference.getvalue())
            (folder / LIST).write_bytes(listing)
    return open_bundle(workspace.models, digest)


def find_bundle(workspace: Workspace) -> Bundle | None:
    """The bundle that was already made of what the stages wrote, reference and all; None when there is none."""
    sums = _sums(_collect(workspace))
    for listing in sorted(workspace.models.glob(f"*/{LIST}")):
        found = _read_json(listing)
        if found.pop(REFERENCE, None) and found == sums and _is_whole(workspace.models, listing.parent.name):
            return Bundle(listing.parent, listing.parent.name)
    return None


def open_bundle(models: Path, digest: str) -> Bundle:
    """The bundle `digest` in `models`, every byte verified; raise BundleError when anything is missing or differs."""
    folder = models / digest
    if len(digest) != 64 or not (folder / LIST).is_file():
        raise BundleError(f"No model {digest[:12]} in {models}. Restore the folder from a backup, or roll back.")
    if file_digest(folder / LIST) != digest:
        raise BundleError(f"{folder / LIST} is not the list that the digest {digest[:12]} was made of.")
    promised: Mapping[str, str] = _read_json(folder / LIST)
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {LIST}
    if present != set(promised):
        raise BundleError(f"{folder}: files missing or added: {', '.join(sorted(present ^ set(promised)))}.")
    changed = [name for name, sha256 in promised.items() if file_digest(folder / name) != sha256]
    if changed:
        raise BundleError(f"{folder}: changed since the model was made: {', '.join(changed)}. It must not serve.")
    return Bundle(folder, digest)


def _collect(workspace: Workspace) -> dict[str, Path]:
    """Name in the bundle -> file in the workspace."""
    files = {
        "model.onnx": workspace.export / "model.onnx",
        "model.json": workspace.export / "model.json",
        "model.safetensors": workspace.model / "model.safetensors",
        "metrics.json": workspace.evaluation / "metrics.json",
        "engine/engine.json": workspace.engine / "engine.json",
        "params.yaml": workspace.params,
        "dvc.yaml": workspace.dvc,
        "dvc.lock": workspace.root / "dvc.lock",
    }
    missing = [str(path.relative_to(workspace.root)) for path in files.values() if not path.is_file()]
    if missing:
        raise BundleError(f"There is no model to register: {', '.join(missing)} missing. Run `visionloop run`.")
    engine = (path for path in workspace.engine.rglob("*") if path.is_file())
    return files | {f"engine/{path.relative_to(workspace.engine)}": path for path in engine}


def _sums(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: file_digest(path) for name, path in files.items()}


def _is_whole(models: Path, digest: str) -> bool:
    try:
        open_bundle(models, digest)
    except BundleError:
        return False
    return True


def _read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
