"""Lower precision: which images calibrate, and what is written into the int8 and fp16 files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from components.engine.precision import calibration_set, quantise, to_fp16
from components.tasks import task_named
from tests.tiny import shape_images, write_model

IMAGES = shape_images()
TASK = task_named("classification")
CALIBRATION = calibration_set(IMAGES, TASK, 32).pixels


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("export")) / "model.onnx"


def run(path: Path) -> np.ndarray:
    """Logits by the arithmetic of the file: optimised, 8-bit weights overflow on a CPU without VNNI."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": IMAGES.of("val").pixels})[0]


def labels_of(pixels: np.ndarray) -> list[str]:
    rows = {image.tobytes(): label for image, label in zip(IMAGES.pixels, IMAGES.labels, strict=True)}
    return [rows[image.tobytes()] for image in pixels]


def test_every_class_calibrates_alike_and_only_training_images_do() -> None:
    train = {image.tobytes() for image in IMAGES.of("train").pixels}
    chosen = calibration_set(IMAGES, TASK, 30).pixels
    counts = [labels_of(chosen).count(label) for label in set(IMAGES.labels)]
    assert sorted(counts) == [7, 7, 8, 8]
    assert all(image.tobytes() in train for image in chosen)


def test_a_rare_class_calibrates_with_all_that_it_has() -> None:
    rows = [row for row, label in enumerate(IMAGES.labels) if label != "cross"] + [1]
    assert IMAGES.labels[1] == "cross"
    columns = {name: [getattr(IMAGES, name)[row] for row in rows] for name in ("ids", "labels", "splits")}
    chosen = calibration_set(replace(IMAGES, pixels=IMAGES.pixels[rows], **columns), TASK, 16)
    assert labels_of(chosen.pixels).count("cross") == 1


def test_the_calibration_set_does_not_depend_on_the_order_and_has_a_digest() -> None:
    order = np.random.default_rng(0).permutation(len(IMAGES))
    columns = {name: [getattr(IMAGES, name)[row] for row in order] for name in ("ids", "labels", "splits")}
    one, other = (
        calibration_set(IMAGES, TASK, 10),
        calibration_set(replace(IMAGES, pixels=IMAGES.pixels[order], **columns), TASK, 10),
    )
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.digest == other.digest != calibration_set(IMAGES, TASK, 11).digest


def test_fewer_training_images_than_asked_for_are_all_taken() -> None:
    train = IMAGES.of("train")
    chosen = calibration_set(IMAGES, TASK, 10_000)
    assert len(chosen.pixels) == len(train)
    ids = {image.tobytes(): name for name, image in zip(train.ids, train.pixels, strict=True)}
    assert chosen.digest == hashlib.sha256("\n".join(ids[i.tobytes()] for i in chosen.pixels).encode()).hexdigest()


def test_onnx_runtimes_int8_has_uint8_activations_and_weights_of_seven_bits(model: Path, tmp_path: Path) -> None:
    quantise(model, CALIBRATION, tmp_path / "int8.onnx", symmetric=False)
    tensors = {each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    weights = [each for each in tensors.values() if each.dtype == np.int8 and each.ndim > 1]
    assert len(weights) == 3
    assert max(abs(each).max() for each in weights) <= 64
    assert np.uint8 in {each.dtype.type for each in tensors.values()}  # zero points of activations


def test_tensorrts_int8_is_symmetric_and_leaves_biases_and_outputs_in_fp32(model: Path, tmp_path: Path) -> None:
    quantise(model, CALIBRATION, tmp_path / "int8.onnx", symmetric=True)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    tensors = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(tensors[node.input[2]].dtype == np.int8 for node in pairs)
    assert not any(tensors[node.input[2]].any() for node in pairs)  # zero points
    maker = {output: node.op_type for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "MatMul")]
    assert all(maker[name] == "DequantizeLinear" for node in layers for name in node.input[:2])
    assert maker["logits"] == "MatMul"


@pytest.mark.parametrize("symmetric", [True, False], ids=["tensorrt", "onnxruntime"])
def test_both_int8_forms_answer_as_fp32_does(model: Path, tmp_path: Path, symmetric: bool) -> None:
    quantise(model, CALIBRATION, tmp_path / "int8.onnx", symmetric=symmetric)
    before, after = run(model), run(tmp_path / "int8.onnx")
    assert 0 < np.abs(before - after).max() < 0.5
    assert (before.argmax(1) == after.argmax(1)).mean() >= 0.97


def test_only_operator_sets_in_use_are_listed(model: Path, tmp_path: Path) -> None:
    quantise(model, CALIBRATION, tmp_path / "int8.onnx", symmetric=False)
    assert [each.domain for each in onnx.load(tmp_path / "int8.onnx").opset_import] == [""]


def test_fp16_computes_in_half_and_keeps_what_goes_in_and_out(model: Path, tmp_path: Path) -> None:
    to_fp16(model, tmp_path / "fp16.onnx")
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    assert {each.data_type for each in graph.initializer} == {TensorProto.FLOAT16}
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    np.testing.assert_allclose(run(tmp_path / "fp16.onnx"), run(model), atol=0.02)
