"""A small model for engine tests, made in a second and without PyTorch: random filters, and a head fitted to shapes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from components.data.dataset import ImageSet
from components.data.tables import file_digest
from components.engine import INPUT, OUTPUT, EngineInfo, TargetName, target_named
from components.engine.precision import calibration_set
from components.model.card import ModelCard
from components.params import Precision
from components.tasks import task_named
from tests.drawing import SHAPES, draw

SIDE = 32  # px
CHANNELS = (24, 64)


def shape_images(train: int = 24, val: int = 16) -> ImageSet:
    """`train` + `val` drawn pictures of each of four shapes."""
    rows = [(shape, seed) for seed in range(train + val) for shape in SHAPES]
    pixels = np.stack([np.asarray(draw(shape, seed, SIDE)).transpose(2, 0, 1) for shape, seed in rows])
    return ImageSet(
        ids=[hashlib.sha256(image.tobytes()).hexdigest() for image in pixels],
        labels=[shape for shape, _ in rows],
        splits=["train" if seed < train else "val" for _, seed in rows],
        pixels=pixels,
        sizes=[(SIDE, SIDE)] * len(rows),
    )


def write_model(folder: Path, broken: NDArray[np.float32] | None = None) -> Path:
    """`folder`/model.onnx and model.json as the export stage writes them; `broken` (64, 4) replaces the head."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_net(_head() if broken is None else broken), folder / "model.onnx")
    card = ModelCard("classification", "tiny", SHAPES, SIDE, "stretch", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "0" * 12)
    card.write(folder / "model.json")
    return folder


def write_engine(folder: Path, name: TargetName, precision: Precision) -> Path:
    """`folder`/engine with the tiny model in one runtime and precision, as the compile stage writes it."""
    onnx_file = write_model(folder / "export") / "model.onnx"
    target, out = target_named(name), folder / "engine"
    out.mkdir()
    target.build(onnx_file, precision, calibration_set(shape_images(), task_named("classification"), 32).pixels, 8, out)
    EngineInfo(
        target=name,
        precision=precision,
        provider=target.load(out, precision).provider,
        files={path.name: file_digest(path) for path in out.iterdir()},
        onnx_sha256=file_digest(onnx_file),
        calibration_sha256=None,
        images=("batch", 3, SIDE, SIDE),
        logits=("batch", len(SHAPES)),
        batch=8,
        speedup=1.0,
        made_with={},
        hardware={},
    ).write(out)
    return out


@cache
def _head() -> NDArray[np.float32]:
    """Weights (64, 4) that tell the shapes apart: ridge regression on what the random filters see."""
    images = shape_images(train=100, val=0)
    seen = _run(_net(np.eye(CHANNELS[1], dtype=np.float32)), images.pixels)
    truth = np.eye(len(SHAPES))[[SHAPES.index(label) for label in images.labels]] - 0.25
    return np.linalg.solve(seen.T @ seen + 1e-2 * np.eye(seen.shape[1]), seen.T @ truth).astype(np.float32)


def _run(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {INPUT: pixels})[0])


def _net(head: NDArray[np.float32]) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "scale": np.float32(1 / 64),
        "shift": np.float32(-2),
        "one": _filters(random, CHANNELS[0], 3),
        "two": _filters(random, CHANNELS[1], CHANNELS[0]),
        "head": head,
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], "mul"),
        helper.make_node("Add", ["scaled", "shift"], ["normal"], "add"),
        helper.make_node("Conv", ["normal", "one"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "two"], ["d"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"], "relu2"),
        helper.make_node("GlobalMaxPool", ["e"], ["f"], "peak"),
        helper.make_node("Flatten", ["f"], ["g"], "flatten"),
        helper.make_node("MatMul", ["g", "head"], [OUTPUT], "head_of"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", head.shape[1]])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _filters(random: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    return random.normal(0, (9 * inputs) ** -0.5, (outputs, inputs, 3, 3)).astype(np.float32)
