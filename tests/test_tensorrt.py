"""TensorRT: absent machines are told what is missing; on an NVIDIA GPU (marker gpu) engines are built and run."""

from __future__ import annotations

import ast
import json
from functools import reduce
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from components.engine import load_engine, run_batches, tensorrt
from components.params import Precision
from components.tasks import task_named
from tests.drawing import SHAPES
from tests.tiny import shape_images, write_engine

IMAGES = shape_images().of("val")


def test_a_machine_without_tensorrt_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "find_spec", lambda _: None)
    assert tensorrt.missing() == "tensorrt is not installed (uv sync --extra tensorrt, on a machine with an NVIDIA GPU)"


def test_another_version_than_11_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    older = ModuleType("tensorrt")
    older.__version__ = "10.13.2"
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: name)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", older)
    assert tensorrt.missing() == "tensorrt is 10.13.2; visionloop is written for TensorRT 11"


def test_libraries_that_do_not_load_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: name)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)  # as Python marks a failed import
    assert "tensorrt does not load" in str(tensorrt.missing())


@pytest.mark.parametrize(
    ("tensor", "precision"),
    [
        ({"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, "int8"),
        ({"Name": "x", "Format/Datatype": "Row major linear FP16 format"}, "fp16"),
        ({"Name": "x", "Format": "Row major linear", "DataType": "Half"}, "fp16"),
        ({"Name": "x", "Format": "Row major linear", "DataType": "Float"}, "fp32"),
    ],
)
def test_the_inspector_counts_layers_by_what_they_read(tensor: dict[str, str], precision: Precision) -> None:
    information = json.dumps({"Layers": [{"Name": "Int8 Half Float", "Inputs": [tensor], "Outputs": []}, "a name"]})
    counts = {each: tensorrt.count_layers(information, each) for each in tensorrt.PRECISIONS}
    assert counts == {each: int(each == precision) for each in tensorrt.PRECISIONS}


def test_every_name_that_is_used_exists_in_the_installed_bindings() -> None:
    trt = pytest.importorskip("tensorrt", reason="needs the tensorrt extra (its bindings; a GPU is not needed)")
    tree = ast.parse(Path(tensorrt.__file__).read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = [name.removeprefix("trt.").split(".") for name in used if name.startswith("trt.")]
    assert len(chains) > 5
    for chain in chains:
        reduce(getattr, chain, trt)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", tensorrt.PRECISIONS)
def test_an_engine_of_each_precision_answers_as_the_reference_does(tmp_path: Path, precision: Precision) -> None:
    if reason := tensorrt.missing():
        pytest.skip(reason)
    (tmp_path / "reference").mkdir()
    reference = load_engine(write_engine(tmp_path / "reference", "onnxruntime", "fp32"))
    engine = load_engine(write_engine(tmp_path, "tensorrt", precision))
    expected, logits = (run_batches(each, IMAGES.pixels, batch=7) for each in (reference, engine))
    assert engine.precision == precision
    assert np.abs(expected - logits).max() < {"fp32": 1e-3, "fp16": 0.05, "int8": 0.5}[precision]
    assert task_named("classification").agreement(expected, logits, SHAPES).mean() >= 0.97
    np.testing.assert_allclose(engine.run(np.tile(IMAGES.pixels, (3, 1, 1, 1)))[-1], logits[-1], atol=1e-3)
