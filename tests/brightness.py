"""A workspace without training: images from black to white, and models that call an image light above a threshold.

In: a folder, a threshold (the truth is 0.5). Out: what ingest and split, and then the other stages, would leave.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from components.data.ingest import ingest
from components.data.sources import open_source
from components.data.tables import MANIFEST, SPLITS, read_table, write_table
from components.launcher.local import LocalLauncher
from components.model.card import ModelCard
from components.params import load_params
from components.report import Silent
from components.workspace import Workspace, create_workspace
from tests.bundles import CLASSES, SIDE, write_engine, write_onnx
from tests.conftest import change_params

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
VAL_IMAGES, TEST_IMAGES = 40, 200


def images_are_split(folder: Path) -> Workspace:
    """A workspace in `folder` with 4 training, 40 validation and 200 test images, each evenly from black to white."""
    for split, count in (("train", 4), ("val", VAL_IMAGES), ("test", TEST_IMAGES)):
        for number in range(count):
            brightness = (number + 0.5) / count
            path = folder / "photos" / split / CLASSES[brightness > 0.5] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((SIDE, SIDE, 3), round(255 * brightness), dtype=np.uint8)
            pixels[0, 0] = [("train", "val", "test").index(split), number // 256, number % 256]  # no two files alike
            Image.fromarray(pixels).save(path)
    workspace = create_workspace(folder / "workspace")
    change_params(workspace, image={"size": SIDE}, export={"parity_images": 32})
    params = load_params(workspace.params)
    ingest(open_source(folder / "photos"), workspace, params.ingest, LocalLauncher(1), Silent(), NOON)
    manifest = read_table(workspace.manifest, MANIFEST)
    ids, splits = manifest["image_id"], manifest["source_split"]
    reason = pa.array(["source"] * len(manifest))
    write_table(pa.table([ids, splits, ids, reason], SPLITS.names).cast(SPLITS), workspace.splits)
    return workspace


def stages_have_run(workspace: Workspace, threshold: float) -> None:
    """Leave what the stages would leave for a model that calls images above `threshold` light."""
    for folder in (workspace.export, workspace.model, workspace.evaluation, workspace.engine):
        folder.mkdir(parents=True, exist_ok=True)
    write_onnx(workspace.export / "model.onnx", 40, -40 * threshold)
    card = ModelCard("classification", "tiny", CLASSES, SIDE, "stretch", (0.0,) * 3, (1.0,) * 3, "0" * 12)
    card.write(workspace.export / "model.json")
    (workspace.model / "model.safetensors").write_bytes(b"")
    (workspace.evaluation / "metrics.json").write_text('{"top1": 1.0}')
    (workspace.root / "dvc.lock").write_text("schema: '2.0'\n")
    write_engine(workspace.export / "model.onnx", workspace.engine)
