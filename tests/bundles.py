"""Real bundles with a real engine, made in milliseconds: the net looks at an image's mean brightness alone.

In: a workspace and how sure the net shall be. Out: a bundle in `.visionloop/models`, promoted if asked.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.data.tables import file_digest
from components.engine import INPUT, OUTPUT, EngineInfo, target_named
from components.model.card import ModelCard
from components.registry.bundle import Bundle, make_bundle
from components.state import ledger
from components.state.database import open_state
from components.workspace import Workspace

SIDE = 32
CLASSES = ("dark", "light")


def tiny_bundle(workspace: Workspace, confidence: float | None = None) -> Bundle:
    """A net that calls an image dark or light; or, given `confidence`, calls every image light with that confidence."""
    for folder in (workspace.export, workspace.model, workspace.evaluation, workspace.engine):
        folder.mkdir(parents=True, exist_ok=True)
    onnx = workspace.export / "model.onnx"
    slope = 0.0 if confidence is not None else 8.0
    bias = math.log(confidence / (1 - confidence)) if confidence is not None else -slope / 2
    write_onnx(onnx, slope, bias)
    card = ModelCard("classification", "tiny", CLASSES, SIDE, "stretch", (0.0,) * 3, (1.0,) * 3, "0" * 12)
    card.write(workspace.export / "model.json")
    (workspace.model / "model.safetensors").write_bytes(b"")
    (workspace.evaluation / "metrics.json").write_text('{"top1": 1.0}')
    (workspace.root / "dvc.lock").write_text("schema: '2.0'\n")
    write_engine(onnx, workspace.engine)
    return make_bundle(workspace, pa.table({"image_id": pa.array([], pa.string())}))


def write_onnx(path: Path, slope: float, bias: float) -> None:
    """light - dark = slope * mean brightness (0..1) + bias."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.tile(np.array([0, slope / 3 / 255], np.float32), (3, 1))
    constants = {"w": weight, "b": np.array([0, bias], np.float32), "axes": np.array([2, 3], np.int64)}
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "w", "b"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def write_engine(onnx: Path, folder: Path) -> None:
    target = target_named("openvino")
    target.build(onnx, "fp32", np.zeros((1, 3, SIDE, SIDE), np.uint8), 8, folder)
    files = {path.name: file_digest(path) for path in folder.iterdir() if path.suffix in {".xml", ".bin"}}
    EngineInfo(
        target="openvino",
        precision="fp32",
        provider=target.load(folder, "fp32").provider,
        files=files,
        onnx_sha256=file_digest(onnx),
        calibration_sha256=None,
        images=("N", 3, SIDE, SIDE),
        logits=("N", len(CLASSES)),
        batch=8,
        speedup=1.0,
        made_with={},
        hardware={},
    ).write(folder)


def promote(workspace: Workspace, version: int, digest: str) -> None:
    """Make `digest` the champion, whatever was the champion before."""
    state = open_state(f"sqlite:///{workspace.state / 'state.db'}")
    newest = ledger.champion(state)
    seen = newest.id if newest else ledger.NOBODY
    ledger.promote(state, version, digest, seen, "test", {}, datetime.now(UTC))
    state.dispose()
