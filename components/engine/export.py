"""PyTorch -> one fp32 model.onnx, the artefact that every engine is made from; proven equal on real images.

In: the trained model and validation images. Out: model.onnx (one file, input `images` uint8 (batch, 3, S, S), output
`logits` float32 (batch, C), normalisation inside, any batch size), model.json beside it, and parity.json with the
largest difference of a logit between PyTorch and ONNX Runtime. Equal models give equal bytes, and no path of this
machine is in them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.tables import file_digest
from components.engine import INPUT, OUTPUT, EngineError, run_batches, silence
from components.engine.parity import max_difference
from components.params import ExportParams, ImageParams
from components.report import Report
from components.workspace import replace_folder

if TYPE_CHECKING:
    from torch import nn

    from components.data.dataset import ImageSet


class ExportError(EngineError):
    """The model cannot be exported, or an ONNX file is not as `export` writes it."""


def export(
    images: ImageSet, model: Path, out: Path, params: ExportParams, image: ImageParams, report: Report
) -> dict[str, float]:
    """Write model.onnx, model.json and parity.json into `out`, whole or not at all.

    Raises ExportError when the model does not fit `image`, ParityError when ONNX Runtime's logits differ by more than
    `params.max_difference` on the first `params.parity_images` validation images.
    """
    from components.engine import onnxruntime
    from components.model.card import read_card
    from components.model.device import outputs_of
    from components.model.zoo import load_model

    if read_card(model / "model.json").image != image:
        raise ExportError("`image:` in params.yaml changed since the model was trained. Run `visionloop run`.")
    pixels = images.of("val").pixels[: params.parity_images]
    module = load_model(model)
    with replace_folder(out) as folder:
        write_onnx(module, image.size, params.opset, folder / "model.onnx")
        engine = onnxruntime.load(folder, "fp32")
        # Two batch sizes and what they leave over: the batch axis must be free.
        difference = max_difference(
            outputs_of(module, pixels, batch=32), run_batches(engine, pixels, 7), params.max_difference
        )
        shutil.copyfile(model / "model.json", folder / "model.json")
        found = {"images": len(pixels), "max_difference": difference, "allowed": params.max_difference}
        digest = {"onnx_sha256": file_digest(folder / "model.onnx"), "provider": engine.provider}
        (folder / "parity.json").write_text(json.dumps(found | digest, indent=2) + "\n", encoding="utf-8")
        size = (folder / "model.onnx").stat().st_size / 1e6
    report.metrics({"parity/max_difference": difference, "onnx/size_mb": size})
    return {"images": len(pixels), "max_difference": difference, "size_mb": size}


def write_onnx(module: nn.Module, side: int, opset: int, path: Path) -> None:
    """Export `module`, which takes uint8 (N, 3, side, side); raise ExportError with PyTorch's reason if it cannot."""
    import onnx
    import torch

    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    try:
        with silence():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
        raise ExportError(f"PyTorch cannot export this model: {reason}. Try another `train.arch`.") from error
    assert program is not None  # as always with dynamo=True
    model = program.model_proto
    _forget_origin(model)
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    read_onnx(path)


def read_onnx(path: Path) -> Any:
    """The onnx.ModelProto in `path`.

    Raises ExportError when a tensor lies outside the file (it would be read from a path that the file names), or when
    input and output are not those of `export`.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ExportError(f"{path} is no whole ONNX file: {error}. Export again: `visionloop stage export`.") from None
    outside = [each.name for each in _tensors(model) if each.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ExportError(f"{path} keeps {len(outside)} tensor(s) in other files ({outside[0]}); it is not opened.")
    found = [(each.name, each.type.tensor_type.elem_type) for each in (*model.graph.input, *model.graph.output)]
    if found != [(INPUT, onnx.TensorProto.UINT8), (OUTPUT, onnx.TensorProto.FLOAT)]:
        raise ExportError(f"{path} has inputs and outputs {found}; expected uint8 `{INPUT}` and float32 `{OUTPUT}`.")
    return model


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto anywhere inside `message`: weights, constants, branches, functions."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type:
            for each in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(each)


def _forget_origin(model: Any) -> None:
    """Drop the stack traces that PyTorch leaves in every node: they name files of this machine."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""
