"""ONNX Runtime on the CPU: fp32, and int8 from a file with explicit quantise/dequantise pairs.

The file is model.onnx. fp32 is the reference for every other engine and always there to fall back on.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.engine import INPUT, OUTPUT, EngineError, Logits, Pixels, TargetName, check_images, cores
from components.params import Precision

NAME: TargetName = "onnxruntime"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
TOOLS: tuple[str, ...] = ("onnxruntime", "onnx")
PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class OnnxRuntimeEngine:
    precision: Precision
    provider: str
    side: int
    session: Any
    target: TargetName = NAME

    def run(self, images: Pixels) -> Logits:
        logits: Logits = self.session.run([OUTPUT], {INPUT: check_images(images, self.side)})[0]
        return logits


def missing() -> str | None:
    return None if find_spec("onnxruntime") else "onnxruntime is not installed (pip install onnxruntime-gpu)"


def lacks(precision: Precision) -> str | None:
    return None if precision in PRECISIONS else f"ONNX Runtime has no {precision} on a CPU"


def build(onnx: Path, precision: Precision, calibration: Pixels, batch: int, out: Path) -> None:  # noqa: ARG001
    """Copy the fp32 file, or write one quantised as this runtime wants it: uint8 activations, int8 weights."""
    from components.engine.precision import quantise

    if precision == "int8":
        quantise(onnx, calibration, out / "model.onnx", symmetric=False)
    else:
        shutil.copyfile(onnx, out / "model.onnx")


def load(folder: Path, precision: Precision, threads: int | None = None) -> OnnxRuntimeEngine:
    """Open model.onnx; raise EngineError when its weights lie elsewhere, or it is not in `precision`."""
    import onnxruntime

    from components.engine.export import read_onnx

    model = read_onnx(folder / "model.onnx")
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if quantised != (precision == "int8"):
        raise EngineError(f"{folder / 'model.onnx'} is {'' if quantised else 'not '}quantised; expected {precision}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=[PROVIDER])
    provider = session.get_providers()[0]
    if provider != PROVIDER:
        raise EngineError(f"ONNX Runtime chose {provider}; expected {PROVIDER}.")
    return OnnxRuntimeEngine(precision, provider, session.get_inputs()[0].shape[-1], session)
