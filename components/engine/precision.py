"""Lower precision for an ONNX file: the images to calibrate on, int8 with explicit Q/DQ pairs, and fp16.

In: an fp32 model.onnx, and training images. Out: another ONNX file that keeps its uint8 input and float32 output.
What a runtime does by itself (bf16, NNCF's int8) is left to its own module.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, takewhile, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from components.engine import INPUT, Pixels, silence

if TYPE_CHECKING:
    from components.data.dataset import ImageSet
    from components.tasks import Task

WORK = ["Conv", "ConvTranspose", "Gemm", "MatMul"]  # layers with weights


@dataclass(frozen=True)
class Calibration:
    """The images whose activations set the ranges of int8."""

    pixels: Pixels
    digest: str  # sha256 of their ids


def calibration_set(images: ImageSet, task: Task, count: int) -> Calibration:
    """At most `count` training images, in turn of what they show: a rare class also sets ranges. The same always."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(images)), key=lambda row: images.ids[row]):
        if images.splits[row] == "train":
            by_class[" ".join(task.shown(images.labels[row]))].append(row)
    turns = chain.from_iterable(zip_longest(*(by_class[label] for label in sorted(by_class))))
    rows = list(islice((row for row in turns if row is not None), count))
    digest = hashlib.sha256("\n".join(images.ids[row] for row in rows).encode()).hexdigest()
    return Calibration(images.pixels[rows], digest)


def quantise(onnx: Path, calibration: Pixels, out: Path, *, symmetric: bool) -> None:
    """Write an int8 file with Q/DQ pairs, ranges from the minimum and maximum seen; weights by channel.

    `symmetric` is the form that TensorRT reads: int8 at the inputs of layers with weights only, every zero point 0,
    biases left in fp32. Else it is ONNX Runtime's: uint8 all along, and weights keep 7 of their 8 bits, since without
    VNNI the products of full ones overflow. Pixels are normalised, and logits given, in fp32.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    options: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
    if symmetric:
        options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        options["OpTypesToExcludeOutputQuantization"] = WORK
    with TemporaryDirectory(prefix="visionloop-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        with silence():
            quant_pre_process(onnx, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                out,
                _reader(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=WORK if symmetric else None,
                nodes_to_exclude=_before_work(prepared),
                per_channel=True,
                reduce_range=not symmetric,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options=options,
            )
    _save(_load(out), out)


def to_fp16(onnx: Path, out: Path) -> None:
    """Write a file that computes in fp16, with the same uint8 input and float32 output."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _save(convert_float_to_float16(_load(onnx), keep_io_types=True), out)


def _before_work(onnx: Path) -> list[str]:
    """Names of the nodes that normalise the pixels: those before the first layer with weights."""
    nodes = _load(onnx).graph.node
    return [node.name for node in takewhile(lambda node: node.op_type not in WORK, nodes)]


def _reader(calibration: Pixels) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images: Iterator[dict[str, Pixels]] = ({INPUT: image[None]} for image in calibration)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(self.images, None)

    return Reader()


def _load(path: Path) -> Any:
    from components.engine.export import read_onnx

    return read_onnx(path)


def _save(model: Any, path: Path) -> None:
    """Write `model` without the operator sets that a vendor lists and no node uses."""
    import onnx

    used = {node.domain for node in model.graph.node}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, path)
