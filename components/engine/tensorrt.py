"""TensorRT 11 on an NVIDIA GPU: fp32 without TF32, fp16 and int8.

In TensorRT 11 the network alone decides the precision (it is always strongly typed), so fp16 and int8 are written
into the ONNX file first. The engine is model.plan, a plain serialised engine; it fits one GPU model and one version of
TensorRT. PyTorch owns the device memory. Written against the 11.4 bindings; on a machine without a GPU only its
absence, its ONNX files and the names it uses could be tested.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np

from components.engine import INPUT, OUTPUT, EngineError, Logits, Pixels, TargetName, check_images
from components.params import Precision

NAME: TargetName = "tensorrt"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
TOOLS: tuple[str, ...] = ("tensorrt", "onnxruntime", "onnx")
VERSION = 11
MAX_BATCH = 64  # images; larger batches run in parts
WORKSPACE = 2 << 30  # bytes of GPU memory that building may use
KINDS = {"fp32": r"\bFloat\b|FP32", "fp16": r"\bHalf\b|FP16", "int8": r"(?i)\bint8\b"}  # in the inspector's words


@dataclass(frozen=True)
class TensorRTEngine:
    precision: Precision
    provider: str  # the GPU's name
    side: int
    classes: int
    context: Any
    stream: Any
    owners: tuple[Any, ...]  # what the context must not outlive
    target: TargetName = NAME
    lock: Lock = field(default_factory=Lock, repr=False)

    def run(self, images: Pixels) -> Logits:
        images = check_images(images, self.side)
        parts = range(0, len(images), MAX_BATCH)
        with self.lock:
            return np.concatenate([self._run(images[start : start + MAX_BATCH]) for start in parts])

    def _run(self, images: Pixels) -> Logits:
        import torch

        with torch.cuda.stream(self.stream):
            given = torch.tensor(images, device="cuda")
            logits = torch.empty((len(images), self.classes), dtype=torch.float32, device="cuda")
            self.context.set_input_shape(INPUT, tuple(given.shape))
            self.context.set_tensor_address(INPUT, given.data_ptr())
            self.context.set_tensor_address(OUTPUT, logits.data_ptr())
            if not self.context.execute_async_v3(self.stream.cuda_stream):
                raise EngineError("TensorRT did not run the batch; its log says why.")
            answer: Logits = logits.cpu().numpy()
        return answer


def missing() -> str | None:
    if find_spec("tensorrt") is None:
        return "tensorrt is not installed (uv sync --extra tensorrt, on a machine with an NVIDIA GPU)"
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        return f"tensorrt does not load ({error})"
    if int(tensorrt.__version__.split(".")[0]) != VERSION:
        return f"tensorrt is {tensorrt.__version__}; visionloop is written for TensorRT {VERSION}"
    import torch

    return None if torch.cuda.is_available() else "PyTorch sees no NVIDIA GPU (see nvidia-smi)"


def lacks(precision: Precision) -> str | None:
    return None if precision in PRECISIONS else f"{precision} is not offered with TensorRT"


def build(onnx: Path, precision: Precision, calibration: Pixels, batch: int, out: Path) -> None:
    """Write model.plan, tuned for `batch` images, fit for 1 to MAX_BATCH; raise EngineError in TensorRT's words."""
    from components.engine.precision import quantise, to_fp16

    with TemporaryDirectory(prefix="visionloop-") as folder:
        typed = Path(folder) / "typed.onnx"
        if precision == "int8":
            quantise(onnx, calibration, typed, symmetric=True)
        elif precision == "fp16":
            to_fp16(onnx, typed)
        else:
            typed = onnx
        (out / "model.plan").write_bytes(_plan(typed, batch))


def _plan(onnx: Path, batch: int) -> bytes:
    import tensorrt as trt

    logger, said = _logger()
    builder = _made(trt.Builder, logger, said)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(f"TensorRT cannot read the model: {'; '.join(errors)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(trt.BuilderFlag.TF32)  # or fp32 would have 10 bits of mantissa
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector then tells precisions
    profile = builder.create_optimization_profile()
    image = tuple(network.get_input(0).shape)[1:]
    profile.set_shape(INPUT, (1, *image), (min(batch, MAX_BATCH), *image), (MAX_BATCH, *image))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT could not build the engine: {'; '.join(said) or 'it did not say why'}")
    return bytes(plan)


def load(folder: Path, precision: Precision, threads: int | None = None) -> TensorRTEngine:  # noqa: ARG001
    """Load model.plan; raise EngineError for another GPU or TensorRT, or when no layer runs in `precision`."""
    import tensorrt as trt
    import torch

    logger, said = _logger()
    runtime = _made(trt.Runtime, logger, said)
    engine = runtime.deserialize_cuda_engine((folder / "model.plan").read_bytes())
    if engine is None:
        raise EngineError(f"TensorRT does not take this plan ({'; '.join(said)}). Compile again on this machine.")
    layers = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    if not count_layers(layers, precision):
        raise EngineError(f"No layer of this {precision} plan runs in {precision}, says TensorRT's inspector.")
    return TensorRTEngine(
        precision=precision,
        provider=torch.cuda.get_device_name(),
        side=tuple(engine.get_tensor_shape(INPUT))[-1],
        classes=tuple(engine.get_tensor_shape(OUTPUT))[-1],
        context=engine.create_execution_context(),
        stream=torch.cuda.Stream(),  # type: ignore[no-untyped-call]
        owners=(logger, runtime, engine),
    )


def count_layers(information: str, precision: Precision) -> int:
    """How many layers read a tensor in `precision`, by the JSON of TensorRT's engine inspector.

    Type and format are one field or two, depending on the version; a quantising layer alone reads floats.
    """
    layers = [layer for layer in json.loads(information)["Layers"] if isinstance(layer, dict)]
    read = ([_kind(tensor) for tensor in layer.get("Inputs", [])] for layer in layers)
    return sum(any(re.search(KINDS[precision], kind) for kind in kinds) for kinds in read)


def _kind(tensor: dict[str, Any]) -> str:
    return " ".join(str(value) for name, value in tensor.items() if name.startswith(("Format", "Data")))


def _made(kind: Any, logger: Any, said: list[str]) -> Any:
    """`kind(logger)`; without a working driver the bindings raise TypeError, and only the log says why."""
    try:
        return kind(logger)
    except TypeError as error:
        raise EngineError(f"TensorRT does not start: {'; '.join(said) or error}") from error


def _logger() -> tuple[Any, list[str]]:
    """A logger for TensorRT, and the list into which its errors go."""
    import tensorrt as trt

    said: list[str] = []

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings ask for exactly this

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                said.append(message)

    return Listener(), said
