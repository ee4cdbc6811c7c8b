"""OpenVINO on the CPU: fp32, bf16 where the CPU computes in it, and int8 quantised by NNCF.

The files are model.xml and model.bin. On CPUs with bf16 OpenVINO takes it unasked, and on others it silently takes
fp32 when asked for bf16; so the precision is always set, and read back from the layers that do the work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from components.engine import EngineError, Logits, Pixels, TargetName, check_images, cores, silence
from components.params import Precision

NAME: TargetName = "openvino"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
TOOLS: tuple[str, ...] = ("openvino", "nncf")
DEVICE = "CPU"
HINT = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of layers that are not quantised
EXECUTED = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}  # by most of the layers below
WORK = {"Convolution", "FullyConnected", "MatMul", "Deconvolution"}
SMOOTH = {"Swish", "HSwish", "Gelu", "Sigmoid", "HSigmoid", "Elu", "Mish"}  # activations with values under zero


@dataclass(frozen=True)
class OpenVinoEngine:
    precision: Precision
    provider: str
    side: int
    compiled: Any
    target: TargetName = NAME
    lock: Lock = field(default_factory=Lock, repr=False)

    def run(self, images: Pixels) -> Logits:
        images = check_images(images, self.side)
        with self.lock:
            logits: Logits = self.compiled([images])[0]
        return logits


def missing() -> str | None:
    return None if find_spec("openvino") else "openvino is not installed (pip install openvino nncf)"


def lacks(precision: Precision) -> str | None:
    if precision not in PRECISIONS:
        return f"OpenVINO has no {precision} on a CPU"
    if precision == "bf16" and "BF16" not in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return "this CPU does not compute in bf16 (no AMX or AVX512-BF16)"
    if precision == "int8" and not find_spec("nncf"):
        return "nncf is not installed (pip install nncf)"
    return None


def build(onnx: Path, precision: Precision, calibration: Pixels, batch: int, out: Path) -> None:  # noqa: ARG001
    import openvino

    model = _core().read_model(onnx)
    if precision == "int8":
        model = _quantise(model, calibration)
    openvino.save_model(model, out / "model.xml", compress_to_fp16=False)


def load(folder: Path, precision: Precision, threads: int | None = None) -> OpenVinoEngine:
    """Compile model.xml for this CPU; raise EngineError when most of its work is not done in `precision`."""
    settings = {
        "INFERENCE_PRECISION_HINT": HINT[precision],
        "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
        "INFERENCE_NUM_THREADS": threads or cores(),
        "ENABLE_CPU_PINNING": False,  # or several processes of one thread each would all sit on the first core
    }
    compiled = _core().compile_model(folder / "model.xml", DEVICE, settings)
    used = executed(compiled)
    if sum(used[name] for name in EXECUTED[precision]) * 2 <= used.total():
        raise EngineError(f"OpenVINO runs this {precision} engine in {dict(used)} (layers by precision).")
    side = compiled.input(0).get_partial_shape()[-1].get_length()
    return OpenVinoEngine(precision, compiled.get_property("EXECUTION_DEVICES")[0], side, compiled)


def executed(compiled: Any) -> Counter[str]:
    """How many of the layers that do the work run in which precision, as the runtime tells it."""
    layers = (layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops())
    work = (layer for layer in layers if layer["layerType"].astype(str) in WORK)
    return Counter(layer["runtimePrecision"].astype(str) for layer in work)


def _quantise(model: Any, calibration: Pixels) -> Any:
    """NNCF's post-training quantisation: symmetric int8 weights, by channel, and activations, by tensor.

    Weights get 7 of the 8 bits: without VNNI the products of full ones overflow, so that the same engine would
    answer differently on another CPU.
    """
    with silence():
        import nncf

        kinds = {node.get_type_name() for node in model.get_ops()}
        return nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in calibration]),
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED if kinds & SMOOTH else nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER if "Softmax" in kinds else None,
            target_device=nncf.TargetDevice.CPU,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def _core() -> Any:
    import openvino

    return openvino.Core()
